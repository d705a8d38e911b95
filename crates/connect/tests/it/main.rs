//! Connectors against scripted and recorded answers: no network, no clock.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests, which may panic and print")]

mod auth;
mod ckan;
mod csv_pages;
mod http_file;
mod memory;
mod paging;
mod providers;
mod sdmx;
mod spec;
