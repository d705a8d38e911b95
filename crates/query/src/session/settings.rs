//! DataFusion's settings for one query, out of the query's limits. With little memory there are fewer parts at once,
//! smaller batches, and texts without views, whose memory is counted exactly.

use datafusion::common::config::{ConfigNonZeroUsize, ConfigOptions};
use hambar_core::limits::MIB;

use crate::limits::QueryLimits;

/// Memory pools below this are small.
const SMALL_POOL_BYTES: u64 = 256 * MIB;
/// Rows of a batch with a small pool.
const SMALL_BATCH_ROWS: usize = 2048;
/// Each sorter sets this part of its share of the pool aside for merging what it sorted.
const MERGE_PART: usize = 4;

/// How texts are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Texts {
    /// As views into Parquet's dictionaries: fast to compare and to group.
    Views,
    /// As they are: a batch owns what it shows, and its memory is counted once.
    Plain,
}

/// Returns how texts are read with these limits.
pub(crate) fn texts(limits: &QueryLimits) -> Texts {
    if is_small(limits) { Texts::Plain } else { Texts::Views }
}

/// Returns the parts of a plan that run at once: one sorter has use for a small pool, two would starve each other.
pub(crate) fn partitions(limits: &QueryLimits) -> usize {
    if is_small(limits) { 1 } else { limits.partitions.max(1) }
}

fn is_small(limits: &QueryLimits) -> bool {
    limits.memory_bytes_max < SMALL_POOL_BYTES
}

/// Returns the settings.
pub(crate) fn options(limits: &QueryLimits) -> ConfigOptions {
    let mut options = ConfigOptions::new();
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = texts(limits) == Texts::Views;
    let partitions = partitions(limits);
    options.execution.target_partitions = partitions;
    if is_small(limits)
        && let Ok(rows) = ConfigNonZeroUsize::try_new(SMALL_BATCH_ROWS)
    {
        options.execution.batch_size = rows;
    }
    let share = usize::try_from(limits.memory_bytes_max).unwrap_or(usize::MAX) / partitions;
    let reserve = options.execution.sort_spill_reservation_bytes;
    options.execution.sort_spill_reservation_bytes = reserve.min(share / MERGE_PART);
    options
}
