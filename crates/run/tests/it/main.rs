//! Runs, pipeline files and decode workers, tried from outside.

mod schema;
mod specs;
mod state_machine;
mod support;
mod workers;
