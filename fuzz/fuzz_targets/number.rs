//! Fuzzes the target `number`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hambar_fuzz::run("number", data));
