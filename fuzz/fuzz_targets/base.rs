#![no_main]

#[path = "../properties/base.rs"]
mod base;

libfuzzer_sys::fuzz_target!(|data: &[u8]| base::check(data));
