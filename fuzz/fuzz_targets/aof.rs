#![no_main]

#[path = "../properties/aof.rs"]
mod aof;

libfuzzer_sys::fuzz_target!(|data: &[u8]| aof::check(data));
