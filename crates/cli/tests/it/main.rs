//! End-to-end tests: the binary as users start it, against providers on the loopback interface.

mod crash;
mod demo;
mod readers;
mod recorded;
mod refusals;
mod refusals_sql;
mod support;
mod versions;
