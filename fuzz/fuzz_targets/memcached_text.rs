#![no_main]

#[path = "../properties/cuts.rs"]
mod cuts;
#[path = "../properties/memcached.rs"]
mod memcached;
#[path = "../properties/memcached_text.rs"]
mod memcached_text;

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcached_text::check(data));
