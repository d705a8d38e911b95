//! Fuzzes the target `fixed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hambar_fuzz::run("fixed", data));
