#![no_main]

#[path = "../properties/cuts.rs"]
mod cuts;
#[path = "../properties/resp.rs"]
mod resp;

libfuzzer_sys::fuzz_target!(|data: &[u8]| resp::check(data));
