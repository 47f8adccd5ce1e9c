#![no_main]

#[path = "../properties/rdb.rs"]
#[expect(dead_code, reason = "only how it shows values")]
mod rdb;
#[path = "../properties/restore.rs"]
mod restore;

libfuzzer_sys::fuzz_target!(|data: &[u8]| restore::check(data));
