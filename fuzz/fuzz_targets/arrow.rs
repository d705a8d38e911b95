//! Fuzzes the target `arrow`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hambar_fuzz::run("arrow", data));
