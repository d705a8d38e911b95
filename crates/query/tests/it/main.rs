//! The query crate from outside: the gate's refusals, queries over a real lake, and the worker process.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod confined;
mod dictionaries;
mod fixture;
mod gate;
mod hostile;
mod overflow;
mod policy;
mod pool;
mod rules;
mod session;
mod worker;
