//! Fuzzes the target `sdmx_ml`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hambar_fuzz::run("sdmx_ml", data));
