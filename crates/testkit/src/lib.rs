//! Test harness: servers and stores that fail on purpose, and what proves that nothing was lost. For tests only.

pub mod amnesia_store;
pub mod evil_http;
pub mod evil_tls;
pub mod fault_store;
pub mod s3_server;
