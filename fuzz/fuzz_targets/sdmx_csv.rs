//! Fuzzes the target `sdmx_csv`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hambar_fuzz::run("sdmx_csv", data));
