#![no_main]

#[path = "../properties/cuts.rs"]
mod cuts;
#[path = "../properties/memcached.rs"]
mod memcached;
#[path = "../properties/memcached_meta.rs"]
mod memcached_meta;

libfuzzer_sys::fuzz_target!(|data: &[u8]| memcached_meta::check(data));
