//! The memory of one query. Operators that can spill get even shares of it, as with DataFusion's `FairSpillPool`, but a sort
//! is to spill before its share is full: to write what it holds it first merges that in memory, for which it makes a copy of
//! the keys as rows, and the copy cannot be spilled. DataFusion sets a fixed number of bytes aside for it, from which
//! `SELECT * … ORDER BY` over a table larger than the pool fails.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::common::Result;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

/// What DataFusion calls a sort's memory; the memory of its merging has another name (`ExternalSorterMerge`).
const SORTER: &str = "ExternalSorter[";
/// A sort fills one part in so many of its share before it spills. It counts its batches twice, of which one half is given
/// back when they are sorted; with that, there is room for rows of 2.5 times the batches.
const SORTER_PARTS: usize = 2;
/// What it calls the memory of the merging.
const MERGER: &str = "ExternalSorterMerge[";
/// Merging what was spilled takes as many files at once as memory allows, and leaves one part in so many to the steps that
/// follow it, ...
const MERGER_LEAVES_PARTS: usize = 8;
/// ... and no less than so many bytes in a pool that has several times as many: merging the parts of a plan takes 31 MB.
const MERGER_LEAVES_BYTES: usize = 40 << 20;

/// A fair pool in which sorts leave room for their merging.
#[derive(Debug)]
pub(super) struct QueryPool {
    fair: FairSpillPool,
    bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Consumers that can spill.
    spillers: usize,
    /// Bytes of those that cannot.
    unspillable: usize,
}

impl QueryPool {
    /// Makes a pool of so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self { fair: FairSpillPool::new(bytes), bytes, state: Mutex::default() }
    }

    fn left_by_mergers(&self) -> usize {
        let least = if self.bytes / MERGER_LEAVES_BYTES > 4 { MERGER_LEAVES_BYTES } else { 0 };
        (self.bytes / MERGER_LEAVES_PARTS).max(least)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether a sort that grows so far is to spill, or to merge less at once, instead. A sort's first batch must fit
    /// whole: it has nothing else that it could spill.
    fn is_full(&self, reservation: &MemoryReservation, additional: usize) -> bool {
        let name = reservation.consumer().name();
        if name.starts_with(MERGER) {
            return self.reserved().saturating_add(additional) > self.bytes - self.left_by_mergers();
        }
        if !name.starts_with(SORTER) || reservation.size() == 0 {
            return false;
        }
        let state = self.state();
        let share = self.bytes.saturating_sub(state.unspillable) / state.spillers.max(1);
        reservation.size().saturating_add(additional) > share / SORTER_PARTS
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fair.fmt(formatter)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &'static str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.fair.register(consumer);
        if consumer.can_spill() {
            self.state().spillers += 1;
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.fair.unregister(consumer);
        if consumer.can_spill() {
            let mut state = self.state();
            state.spillers = state.spillers.saturating_sub(1);
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.fair.grow(reservation, additional);
        if !reservation.consumer().can_spill() {
            self.state().unspillable += additional;
        }
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.fair.shrink(reservation, shrink);
        if !reservation.consumer().can_spill() {
            let mut state = self.state();
            state.unspillable = state.unspillable.saturating_sub(shrink);
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if self.is_full(reservation, additional) {
            let name = reservation.consumer().name();
            return datafusion::common::resources_err!(
                "no more memory for {name}: it has {} and asks for {additional} bytes",
                reservation.size()
            );
        }
        self.fair.try_grow(reservation, additional)?;
        if !reservation.consumer().can_spill() {
            self.state().unspillable += additional;
        }
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.fair.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.fair.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const BYTES: usize = 8_000;

    fn pool() -> Arc<dyn MemoryPool> {
        Arc::new(QueryPool::new(BYTES))
    }

    fn member(pool: &Arc<dyn MemoryPool>, name: &str, can_spill: bool) -> MemoryReservation {
        MemoryConsumer::new(name).with_can_spill(can_spill).register(pool)
    }

    #[test]
    fn a_sort_spills_early_enough_for_its_merging() {
        let pool = pool();
        let sorts = [member(&pool, "ExternalSorter[0]", true), member(&pool, "ExternalSorter[1]", true)];
        let merges = [member(&pool, "ExternalSorterMerge[0]", false), member(&pool, "ExternalSorterMerge[1]", false)];
        for sort in &sorts {
            sort.try_grow(1_500).unwrap();
            sort.try_grow(500).unwrap();
            let refused = sort.try_grow(1).unwrap_err().to_string();
            assert!(refused.contains("no more memory for ExternalSorter["), "{refused}");
        }
        // Both merge at once, and leave something to the steps that follow.
        for merge in &merges {
            merge.try_grow(1_500).unwrap();
        }
        merges[0].try_grow(1).unwrap_err();
        let follower = member(&pool, "SortPreservingMergeExec[0]", false);
        follower.try_grow(1_000).unwrap();
        assert_eq!(pool.reserved(), BYTES);
        drop((sorts, merges, follower));
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn a_first_batch_and_other_operators_take_their_whole_share() {
        let pool = pool();
        let sort = member(&pool, "ExternalSorter[0]", true);
        let groups = member(&pool, "FinalHashAggregateStream[0]", true);
        sort.try_grow(4_000).unwrap();
        groups.try_grow(3_500).unwrap();
        groups.try_grow(500).unwrap();
        groups.try_grow(1).unwrap_err();
        drop(groups);
        sort.free();
        let join = member(&pool, "HashJoinInput", false);
        join.try_grow(BYTES).unwrap();
        sort.try_grow(1).unwrap_err();
        join.shrink(BYTES);
        sort.try_grow(BYTES).unwrap();
    }
}
