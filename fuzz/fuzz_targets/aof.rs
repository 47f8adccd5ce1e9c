#![no_main]

#[path = "../properties/aof.rs"]
mod aof;
#[path = "../properties/store.rs"]
mod store;

libfuzzer_sys::fuzz_target!(|data: &[u8]| aof::check(data));
