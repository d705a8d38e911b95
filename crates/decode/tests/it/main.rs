//! Tests of the decoders on generated, damaged and real files.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests unwrap in helpers too, say what they skip, and ask whether they run in CI"
)]

mod archive;
mod chunks;
mod csv;
mod excel;
mod formats;
mod json_suite;
mod memory;
mod mutations;
mod pollock;
mod reading;
mod sdmx;
mod sdmx_bad;
mod sdmx_csv;
mod sdmx_structure;
mod seeds;
mod targets;
