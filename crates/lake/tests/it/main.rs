//! The lake's tests: the stores' contract, faults, races, and random histories compared with a model.

mod conform;
mod faults;
mod histories;
mod leases;
mod readers;
mod support;
mod torn;
mod writers;
