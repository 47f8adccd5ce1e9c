#![no_main]

#[path = "../properties/cuts.rs"]
mod cuts;
#[path = "../properties/inline.rs"]
mod inline;
#[path = "../properties/resp.rs"]
mod resp;

libfuzzer_sys::fuzz_target!(|data: &[u8]| inline::check(data));
