//! What fuzzing found worth keeping, checked again by every test run: configuration files.

#[path = "../../../fuzz/properties/config.rs"]
mod property;

use std::path::Path;

#[test]
fn corpus_of_config() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/config");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        property::check(&std::fs::read(&path).unwrap());
        files += 1;
    }
    assert!(files > 0, "no corpus in {}", folder.display());
}
