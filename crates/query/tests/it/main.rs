//! The query crate from outside: the gate's refusals, queries over a real lake, and the worker process.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod fixture;
mod gate;
mod pool;
mod session;
mod worker;
