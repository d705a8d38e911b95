//! Named stops on a row's path, so that a test can end the process at each of them and see what a restart makes of it.

/// The stops, in the order in which a run that commits comes by.
pub const FAULT_POINTS: [&str; 11] = [
    "after_lease",
    "after_open",
    "after_plan",
    "after_fetch",
    "after_decode",
    "after_write",
    "before_manifest",
    "before_commit",
    "after_commit",
    "before_report",
    "after_report",
];

/// The stops at which a run that found nothing changed keeps what it learnt.
pub const UNCHANGED_FAULT_POINTS: [&str; 2] = ["before_verified", "after_verified"];

/// Hears that a run has come to one of [`FAULT_POINTS`] or [`UNCHANGED_FAULT_POINTS`]. May end the process.
pub trait FaultPoint: std::fmt::Debug + Send + Sync {
    /// Hears of a stop.
    fn reached(&self, point: &'static str);
}

/// No faults: production.
#[derive(Debug, Clone, Copy)]
pub struct NoFaults;

impl FaultPoint for NoFaults {
    fn reached(&self, _point: &'static str) {}
}
