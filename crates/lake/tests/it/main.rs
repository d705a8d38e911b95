//! The lake's tests: the stores' contract, faults, races, and random histories compared with a model.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test, also in the helpers of tests")]

mod conform;
mod faults;
mod histories;
mod leases;
mod readers;
mod support;
mod torn;
mod writers;
