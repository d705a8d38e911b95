//! Fuzzes the target `ndjson`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hambar_fuzz::run("ndjson", data));
