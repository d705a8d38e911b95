//! The query crate from outside: the gate's refusals, queries over a real lake, and the worker process.

mod fixture;
mod gate;
mod session;
mod worker;
