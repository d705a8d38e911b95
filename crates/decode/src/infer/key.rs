//! Looks for the shortest run of first columns whose values never repeat together. A key is proposed only when every
//! row was seen and none repeated.

use std::collections::HashSet;

use xxhash_rust::xxh3::Xxh3Default;

/// Leading columns that are looked at.
const COLUMNS_TRIED_MAX: usize = 8;
/// Hashes kept for all runs together; beyond it no key is proposed.
const HASHES_MAX: usize = 50_000_000;

/// Runs of first columns that may still be keys.
#[derive(Debug)]
pub(super) struct Keys {
    /// For each number of columns, from 1 on, the hashes of the rows; `None` once two rows were alike.
    runs: Vec<Option<HashSet<u64>>>,
    hashes: usize,
}

impl Keys {
    pub(super) fn new(columns: usize) -> Self {
        Self { runs: vec![Some(HashSet::new()); columns.min(COLUMNS_TRIED_MAX)], hashes: 0 }
    }

    /// Returns the number of leading columns that are looked at.
    pub(super) fn columns(&self) -> usize {
        self.runs.len()
    }

    /// Says whether rows still matter.
    pub(super) fn is_open(&self) -> bool {
        self.runs.iter().any(Option::is_some)
    }

    /// Takes a row in.
    pub(super) fn add<'a>(&mut self, cells: impl Iterator<Item = &'a str>) {
        let mut hasher = Xxh3Default::new();
        for (cell, run) in cells.zip(&mut self.runs) {
            hasher.update(&(cell.len() as u64).to_le_bytes());
            hasher.update(cell.as_bytes());
            let Some(hashes) = run else {
                continue;
            };
            if hashes.insert(hasher.digest()) {
                self.hashes += 1;
            } else {
                self.hashes -= hashes.len();
                *run = None;
            }
        }
        if self.hashes > HASHES_MAX {
            self.runs.clear();
        }
    }

    /// Returns the number of columns of the shortest key.
    pub(super) fn shortest(&self) -> Option<usize> {
        self.runs.iter().position(|run| run.as_ref().is_some_and(|hashes| !hashes.is_empty())).map(|index| index + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_unique_run_is_found() {
        let check = |rows: &[&[&str]], expected: Option<usize>| {
            let mut keys = Keys::new(rows.first().map_or(0, |row| row.len()));
            for row in rows {
                keys.add(row.iter().copied());
            }
            assert_eq!(keys.shortest(), expected, "{rows:?}");
        };
        check(&[&["1", "a"], &["2", "a"]], Some(1));
        check(&[&["1", "a"], &["1", "b"]], Some(2));
        check(&[&["1", "a"], &["1", "a"]], None);
        check(&[&["ab", "c"], &["a", "bc"]], Some(1));
        check(&[], None);
    }
}
