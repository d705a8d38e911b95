//! End-to-end tests: the binary as users start it, against providers on the loopback interface.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests unwrap in helpers too, and say what they skip")]

mod add;
mod cite;
mod crash;
mod demo;
mod disk;
mod drift;
mod learnt;
mod network;
mod readers;
mod recorded;
mod recorded_more;
mod refusals;
mod refusals_sql;
mod retention;
mod s3;
mod schedule;
mod serve;
mod sql_files;
mod support;
mod versions;
mod widen;
