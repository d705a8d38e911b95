//! The lake's tests: the stores' contract, faults, races, and random histories compared with a model.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test, also in the helpers of tests")]

mod beside;
mod check;
mod checkpoint;
mod cite;
mod conform;
mod expire;
mod faults;
mod groups;
mod histories;
mod leases;
mod optimize;
mod partitions;
mod power;
mod readers;
mod s3;
mod support;
mod torn;
mod vacuum;
mod widen;
mod writers;
