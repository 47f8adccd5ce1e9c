#![no_main]

#[path = "../properties/salvage.rs"]
mod salvage;
#[path = "../properties/store.rs"]
mod store;

libfuzzer_sys::fuzz_target!(|data: &[u8]| salvage::check(data));
