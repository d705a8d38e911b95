//! Fuzzes the target `sdmx_json`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hambar_fuzz::run("sdmx_json", data));
