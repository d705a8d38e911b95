//! Runs, pipeline files and decode workers, tried from outside.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod add;
mod learnt;
mod schedule;
mod schema;
mod specs;
mod state_machine;
mod support;
mod workers;
