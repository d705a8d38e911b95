//! Fuzzes the target `structures`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hambar_fuzz::run("structures", data));
