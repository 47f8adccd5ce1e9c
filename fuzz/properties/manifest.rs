//! Any bytes are a manifest that is written and read as the same, or refused.

use persist::aof::Manifest;

/// Parses `data`, and what is rendered of it.
pub(crate) fn check(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data) else { return };
    let mut again = Vec::new();
    manifest.render(&mut again);
    assert_eq!(Manifest::parse(&again), Ok(manifest));
}
