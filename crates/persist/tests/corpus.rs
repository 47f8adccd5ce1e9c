//! What fuzzing found worth keeping, checked again by every test run, with some damage of each.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test, and properties that are tests"
)]

#[path = "../../../fuzz/properties/aof.rs"]
mod aof;
#[path = "../../../fuzz/properties/base.rs"]
mod base;
#[path = "../../../fuzz/properties/manifest.rs"]
mod manifest;
#[path = "../../../fuzz/properties/rdb.rs"]
mod rdb;
#[path = "../../../fuzz/properties/restore.rs"]
mod restore;
#[path = "../../../fuzz/properties/salvage.rs"]
mod salvage;
#[path = "../../../fuzz/properties/store.rs"]
mod store;

use engine::Rng;
use std::path::Path;

/// Damaged variants of each file.
const VARIANTS: u64 = 200;

#[test]
fn corpus_of_rdb() {
    each_file_of("rdb", rdb::check);
}

#[test]
fn corpus_of_restore() {
    each_file_of("restore", restore::check);
}

#[test]
fn corpus_of_aof() {
    each_file_of("aof", aof::check);
}

#[test]
fn corpus_of_salvage() {
    each_file_of("salvage", salvage::check);
}

#[test]
fn corpus_of_base() {
    each_file_of("base", base::check);
}

#[test]
fn corpus_of_manifest() {
    each_file_of("manifest", manifest::check);
}

fn each_file_of(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        let bytes = std::fs::read(&path).unwrap();
        check(&bytes);
        for seed in 0..VARIANTS {
            println!("seed {seed}");
            check(&damaged(&bytes, &mut Rng::new(seed * 2 + 1)));
        }
        files += 1;
    }
    assert!(files > 0, "no corpus in {}", folder.display());
}

/// Some bytes changed, some taken away, some twice there.
fn damaged(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(3) {
        let (a, b) = (rng.below(bytes.len() as u64 + 1), rng.below(bytes.len() as u64 + 1));
        let (a, b) = (a.min(b) as usize, a.max(b) as usize);
        match rng.below(6) {
            0 => drop(bytes.drain(a..b)),
            1 => {
                let piece = bytes[a..b].to_vec();
                bytes.splice(a..a, piece);
            }
            _ if a < bytes.len() => bytes[a] = rng.next_u64() as u8,
            _ => {}
        }
    }
    bytes
}
