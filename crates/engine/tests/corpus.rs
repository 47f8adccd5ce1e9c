//! What fuzzing found worth keeping, checked again by every test run: bytes as operations on a
//! shard, compared with a plain map.

#![expect(clippy::indexing_slicing, reason = "a test")]

extern crate sessile_engine as engine;

#[path = "../../../fuzz/properties/engine.rs"]
mod property;

use std::path::Path;

#[test]
fn corpus_of_engine() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/engine");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        property::check(&std::fs::read(&path).unwrap());
        files += 1;
    }
    assert!(files > 0, "no corpus in {}", folder.display());
}
