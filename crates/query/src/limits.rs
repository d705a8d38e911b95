//! The limits of a query, with names and units. The defaults are those of `reliability.md` §3.3.

use std::time::Duration;

use hambar_core::limits::{GIB, MIB};
use serde::{Deserialize, Serialize};

/// What a statement's text may contain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateLimits {
    /// Bytes of the text.
    pub text_bytes_max: usize,
    /// Tokens, without white space and comments.
    pub tokens_max: usize,
    /// Nesting of expressions and subqueries; a chain of one kind of operator does not nest.
    pub depth_max: usize,
    /// Operators with two operands in the whole statement.
    pub binary_operators_max: usize,
    /// Joins in the whole statement, commas in `FROM` included.
    pub joins_max: usize,
    /// Common table expressions in the whole statement.
    pub ctes_max: usize,
    /// `WITH` inside `WITH`.
    pub cte_nesting_max: usize,
    /// Tables read once every common table expression is written out at each use.
    pub expanded_relations_max: u64,
    /// `UNION`, `INTERSECT` and `EXCEPT` in the whole statement.
    pub set_operations_max: usize,
    /// Values in one `IN` list.
    pub in_list_max: usize,
    /// `WHEN` branches of one `CASE`.
    pub case_branches_max: usize,
    /// `COALESCE`, `CASE`, `NULLIF` and `NVL` inside each other.
    pub conditional_nesting_max: usize,
    /// Bytes of a regular expression.
    pub regex_bytes_max: usize,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            text_bytes_max: 64 * 1024,
            tokens_max: 10_000,
            depth_max: 50,
            binary_operators_max: 200,
            joins_max: 32,
            ctes_max: 64,
            cte_nesting_max: 8,
            expanded_relations_max: 512,
            set_operations_max: 64,
            in_list_max: 10_000,
            case_branches_max: 500,
            conditional_nesting_max: 8,
            regex_bytes_max: 1024,
        }
    }
}

/// What one query may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryLimits {
    /// What its text may contain.
    pub gate: GateLimits,
    /// Time for parsing and planning.
    pub plan_time_max: Duration,
    /// Time for everything.
    pub run_time_max: Duration,
    /// Bytes of the memory pool; what does not fit is spilled, or the query ends with an error.
    pub memory_bytes_max: u64,
    /// Bytes that it may spill to disk.
    pub spill_bytes_max: u64,
    /// Rows of the result; the rest is cut off and the result says so.
    pub result_rows_max: Option<u64>,
    /// Bytes of the result in memory; the rest is cut off and the result says so.
    pub result_bytes_max: u64,
    /// Bytes of the files that it may open; without one, the time is the limit.
    pub scan_bytes_max: Option<u64>,
    /// Time that whoever reads the answer may take for one piece of it; the query waits and its own time stands still.
    pub reader_time_max: Option<Duration>,
    /// Parts of the plan that run at once.
    pub partitions: usize,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            gate: GateLimits::default(),
            plan_time_max: Duration::from_secs(2),
            run_time_max: Duration::from_secs(30),
            memory_bytes_max: 512 * MIB,
            spill_bytes_max: 4 * GIB,
            result_rows_max: None,
            result_bytes_max: 4 * GIB,
            scan_bytes_max: None,
            reader_time_max: None,
            partitions: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        }
    }
}

impl QueryLimits {
    /// Returns these limits, each no looser than that of `ceiling`. What the text may contain is the ceiling's.
    #[must_use]
    pub fn at_most(&self, ceiling: &Self) -> Self {
        Self {
            gate: ceiling.gate.clone(),
            plan_time_max: self.plan_time_max.min(ceiling.plan_time_max),
            run_time_max: self.run_time_max.min(ceiling.run_time_max),
            memory_bytes_max: self.memory_bytes_max.min(ceiling.memory_bytes_max),
            spill_bytes_max: self.spill_bytes_max.min(ceiling.spill_bytes_max),
            result_rows_max: tighter(self.result_rows_max, ceiling.result_rows_max),
            result_bytes_max: self.result_bytes_max.min(ceiling.result_bytes_max),
            scan_bytes_max: tighter(self.scan_bytes_max, ceiling.scan_bytes_max),
            reader_time_max: tighter(self.reader_time_max, ceiling.reader_time_max),
            partitions: self.partitions.clamp(1, ceiling.partitions.max(1)),
        }
    }

    /// Bytes of memory that the operating system grants the worker: 1.5 times the pool and 256 MiB.
    pub fn worker_bytes_max(&self) -> u64 {
        self.memory_bytes_max.saturating_add(self.memory_bytes_max / 2).saturating_add(256 * MIB)
    }
}

/// The smaller of two limits, of which none is none.
fn tighter<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
