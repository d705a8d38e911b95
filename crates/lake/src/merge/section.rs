//! Merges one section: its files one after the other, and their row groups one after the other.
//!
//! A row group is first compared without writing anything. Most come out as they are. Where only values of rows change,
//! the columns that differ are encoded anew and the others copied; where rows come or go, the row group is written
//! anew. The first change of a file makes it dirty: what was passed over is copied, row group by row group.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{cast, interleave_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use hambar_core::StoreError;
use parquet::arrow::arrow_reader::RowSelection;

use super::patches::{self, Patches};
use super::steps::{Merged, Segment, Span};
use super::{Absent, Diff, REVISED, Shared, WITHDRAWN, is_content};
use crate::compare::rows_differ;
use crate::error::rows;
use crate::external::{KeyRange, MergedRuns, SortedBatch, first_from};
use crate::incoming::Incoming;
use crate::log::LogState;
use crate::output::{Slack, SortedOutput};
use crate::plan::PlannedFile;
use crate::reader::FileReader;
use crate::source::SourceFile;
use crate::spill::Sorter;

/// A run that has fewer rows for a row group than one in so many of its rows looks them up by their keys; with more, all
/// of the row group's columns are compared.
const SPARSE_SHARE: usize = 16;

/// Merges the rows of the run in `keys` with `files`.
pub(super) fn merge(shared: &Shared<'_>, files: &[PlannedFile], keys: &KeyRange) -> Result<Diff, StoreError> {
    let mut walk = Walk::begin(shared, keys)?;
    for file in files {
        walk.new_rows_while(|row| row < file.partition.as_slice() && !row.starts_with(&file.partition))?;
        walk.file(file)?;
    }
    walk.new_rows_while(|_| true)?;
    walk.finish()
}

/// Files that are not in order are sorted anew, all of them.
pub(super) fn unsorted(shared: &Shared<'_>, state: &LogState) -> Result<Diff, StoreError> {
    let task = shared.task;
    let mut walk = Walk::begin(shared, &KeyRange::default())?;
    let mut sorter = Sorter::new(&task.label, task.key.clone(), &task.spool);
    for add in state.files.values() {
        let path = shared.local(add)?;
        for batch in FileReader::open(&task.label, &path, add, &task.full, None)? {
            sorter.push_blocking(batch?)?;
        }
        shared.forget_copy(&path);
    }
    let runs = sorter.finish_blocking()?;
    let mut merged = MergedRuns::open(&task.label, &task.key, &runs, &KeyRange::default())?;
    let mut last: Option<RecordBatch> = None;
    while let Some(SortedBatch { batch, rows }) = merged.next()? {
        let batch = as_stored(shared, &batch)?;
        let sorted = SortedBatch { batch, rows };
        if task.key.unique && task.absent == Absent::Kept {
            refuse_repeated(shared, &sorted, &mut last)?;
        }
        walk.write_merged(&sorted)?;
    }
    walk.new_rows_while(|_| true)?;
    walk.diff.removed.extend(state.files.values().cloned());
    walk.finish()
}

fn as_stored(shared: &Shared<'_>, batch: &RecordBatch) -> Result<RecordBatch, StoreError> {
    let columns = batch.columns().iter().zip(shared.stored.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() { Ok(Arc::clone(column)) } else { cast(column, field.data_type()) }
    });
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|error| shared.task.wrong(error))?;
    RecordBatch::try_new(shared.stored.clone(), columns).map_err(|error| shared.task.wrong(error))
}

fn refuse_repeated(shared: &Shared<'_>, batch: &SortedBatch, last: &mut Option<RecordBatch>) -> Result<(), StoreError> {
    let task = shared.task;
    let count = batch.batch.num_rows();
    let before = last.replace(batch.batch.slice(count - 1, 1));
    let follows = match before {
        Some(before) => task.key.rows(&before)?.row(0) == batch.rows.row(0),
        None => false,
    };
    let repeated =
        if follows { Some(0) } else { (1..count).find(|row| batch.rows.row(*row) == batch.rows.row(row - 1)) };
    let Some(row) = repeated else {
        return Ok(());
    };
    let shown = task.key.show(&batch.batch, row);
    Err(rows(&task.label, format!("the table already has several rows with the key {shown}")))
}

/// What comparing a row group with the run came to.
enum Found {
    /// Everything in it stays.
    Nothing,
    /// Values of rows change.
    Patches(Patches),
    /// Rows come or go after the first `passed` rows, for which the patches hold.
    Rewrite { passed: usize, patches: Patches },
}

struct Walk<'a> {
    shared: &'a Shared<'a>,
    incoming: Incoming,
    output: SortedOutput,
    diff: Diff,
    /// The key columns that files have.
    key: SchemaRef,
}

impl<'a> Walk<'a> {
    fn begin(shared: &'a Shared<'a>, keys: &KeyRange) -> Result<Self, StoreError> {
        let task = shared.task;
        let is_key = |name: &String| task.key.columns().contains(name);
        let fields = task.content.fields().iter().filter(|field| is_key(field.name())).cloned();
        Ok(Self {
            shared,
            incoming: Incoming::open(&task.label, &task.key, task.content.fields().len(), &task.runs, keys)?,
            output: shared.output(),
            diff: Diff::default(),
            key: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        })
    }

    fn finish(mut self) -> Result<Diff, StoreError> {
        self.diff.files = self.output.finish()?;
        Ok(self.diff)
    }

    fn head(&self) -> Option<&[u8]> {
        self.incoming.head().map(|(batch, row)| batch.rows.row(row).data())
    }

    fn file(&mut self, file: &PlannedFile) -> Result<(), StoreError> {
        let task = self.shared.task;
        let limits = &task.lake.inner.sorted;
        let is_full = file.add.rows().is_none_or(|rows| rows >= limits.file_rows as u64);
        let takes_tail = file.ends_partition && file.add.size < limits.small_bytes && !is_full;
        let is_touched = task.absent == Absent::Withdrawn
            || self
                .head()
                .is_some_and(|head| head <= file.last.as_slice() || (takes_tail && head.starts_with(&file.partition)));
        if !is_touched {
            return self.output.close();
        }
        let path = self.shared.local(&file.add)?;
        let source = SourceFile::open(&task.label, &path, &file.add, &self.shared.stored)?;
        self.output.set_slack(Slack::Double);
        let is_dirty = self.groups(file, &source)?;
        let has_tail = takes_tail && self.head().is_some_and(|head| head.starts_with(&file.partition));
        if has_tail && !is_dirty {
            self.copy_before_tail(&source)?;
        }
        self.output.set_slack(Slack::None);
        match (is_dirty, has_tail) {
            (false, false) => self.output.close()?,
            (true, false) => self.output.close_if_large()?,
            (_, true) => {}
        }
        if is_dirty || has_tail {
            self.diff.removed.push(Arc::clone(&file.add));
        }
        self.shared.forget_copy(&path);
        Ok(())
    }

    /// Merges the row groups of a file; says whether something changed, and the file was written anew.
    fn groups(&mut self, file: &PlannedFile, source: &SourceFile) -> Result<bool, StoreError> {
        let knows_groups = file.groups.len() == source.groups();
        let mut is_dirty = false;
        for group in 0..source.groups() {
            let next = file.groups.get(group + 1).filter(|_| knows_groups).map(Vec::as_slice);
            let found = self.group(file, source, group, next)?;
            if !is_dirty && !matches!(found, Found::Nothing) {
                is_dirty = true;
                for before in 0..group {
                    self.output.copy(source, before)?;
                }
            }
            match found {
                Found::Nothing if is_dirty => self.output.copy(source, group)?,
                Found::Nothing => {}
                Found::Patches(patches) => self.patch(source, group, patches)?,
                Found::Rewrite { passed, patches } => {
                    self.rewrite(source, group, passed, &patches)?;
                    if let Some(next) = next {
                        self.new_rows_while(|row| row < next)?;
                    }
                }
            }
        }
        Ok(is_dirty)
    }

    /// Copies a file to whose end new rows will be added. A small last row group is written anew, so that they join it.
    fn copy_before_tail(&mut self, source: &SourceFile) -> Result<(), StoreError> {
        let small_rows = self.shared.task.lake.inner.sorted.group_rows / 2;
        for group in 0..source.groups() {
            if group + 1 == source.groups() && source.rows(group) < small_rows {
                for batch in source.read(group, &self.shared.stored, None)? {
                    self.output.write(&batch?)?;
                }
            } else {
                self.output.copy(source, group)?;
            }
        }
        Ok(())
    }

    /// Compares a row group with the run. `next` is the first key of the next row group, where that is known.
    fn group(
        &mut self,
        file: &PlannedFile,
        source: &SourceFile,
        group: usize,
        next: Option<&[u8]>,
    ) -> Result<Found, StoreError> {
        if self.shared.task.absent == Absent::Withdrawn {
            return self.compare(source, group);
        }
        let Some((batch, first)) = self.incoming.head() else {
            return Ok(Found::Nothing);
        };
        let head = batch.rows.row(first).data();
        let is_beyond = match next {
            Some(next) => head >= next,
            None => head > file.last.as_slice(),
        };
        if is_beyond {
            return Ok(Found::Nothing);
        }
        // The lowest bytes above the last key.
        let above = [file.last.as_slice(), &[0]].concat();
        let end = first_from(&batch.rows, first, next.unwrap_or(&above));
        let count = end - first;
        let is_known = next.is_some() || group + 1 == source.groups();
        if is_known && end < batch.rows.num_rows() && count * SPARSE_SHARE <= source.rows(group) {
            return self.look_up(source, group, count);
        }
        self.compare(source, group)
    }

    /// Looks for the next `count` rows of the run among the keys of a row group, and compares those that are there.
    fn look_up(&mut self, source: &SourceFile, group: usize, count: usize) -> Result<Found, StoreError> {
        let shared = self.shared;
        let columns = shared.task.content.fields().len();
        let Some((batch, first)) = self.incoming.head() else {
            return Ok(Found::Nothing);
        };
        let mut wanted = first;
        let mut places: Vec<usize> = Vec::with_capacity(count);
        let mut base = 0;
        for keys in source.read(group, &self.key, None)? {
            let keys = shared.task.key.rows(&keys?)?;
            let mut from = 0;
            while wanted < first + count && from < keys.num_rows() {
                let key = batch.rows.row(wanted);
                from = first_from(&keys, from, key.data());
                if from == keys.num_rows() {
                    break;
                }
                if keys.row(from) != key {
                    return Ok(Found::Rewrite { passed: 0, patches: Patches::new(columns) });
                }
                places.push(base + from);
                wanted += 1;
            }
            base += keys.num_rows();
        }
        if places.len() < count {
            return Ok(Found::Rewrite { passed: 0, patches: Patches::new(columns) });
        }
        let selection =
            RowSelection::from_consecutive_ranges(places.iter().map(|place| *place..*place + 1), source.rows(group));
        let mut patches = Patches::new(columns);
        let mut done = 0;
        for current in source.read(group, &shared.task.content, Some(selection))? {
            let current = current?;
            let index = |row: usize| u32::try_from(row).unwrap_or(u32::MAX);
            let left: Vec<u32> = (0..index(current.num_rows())).collect();
            let right: Vec<u32> = (index(first + done)..index(first + done + current.num_rows())).collect();
            let differ = rows_differ(&current, &left, &batch.batch, &right, &mut patches.columns)
                .map_err(|error| shared.task.wrong(error))?;
            let changed: Vec<usize> = (0..differ.len()).filter(|row| differ[*row]).collect();
            let picked: Vec<u32> = changed.iter().map(|row| right[*row]).collect();
            let fresh = shared.fresh(&batch.batch, &picked)?;
            patches.add(changed.iter().map(|row| index(places[done + row])), fresh);
            done += current.num_rows();
        }
        self.incoming.advance(count)?;
        Ok(if patches.rows.is_empty() { Found::Nothing } else { Found::Patches(patches) })
    }

    /// Compares all rows of a row group with the run.
    fn compare(&mut self, source: &SourceFile, group: usize) -> Result<Found, StoreError> {
        let task = self.shared.task;
        let mut patches = Patches::new(task.content.fields().len());
        let mut base = 0;
        for batch in source.read(group, &task.content, None)? {
            let batch = batch?;
            let keys = task.key.rows(&batch)?;
            let current = SortedBatch { batch, rows: keys };
            let count = current.batch.num_rows();
            let mut start = 0;
            while start < count {
                let segment = self.segment(&current, start);
                if self.moves_rows(&segment) || patches.is_large() {
                    return Ok(Found::Rewrite { passed: base + start, patches });
                }
                self.collect(&current, base, &segment, &mut patches)?;
                start = segment.current_end;
                self.incoming.advance(segment.incoming_count)?;
            }
            base += count;
        }
        Ok(if patches.rows.is_empty() { Found::Nothing } else { Found::Patches(patches) })
    }

    fn segment(&self, current: &SortedBatch, start: usize) -> Segment {
        match self.incoming.head() {
            Some((incoming, first)) => Segment::walk(&current.rows, start, &incoming.rows, first),
            None => Segment::absent(start, current.batch.num_rows()),
        }
    }

    fn moves_rows(&self, segment: &Segment) -> bool {
        segment.spans.iter().any(|span| match span {
            Span::New { .. } => true,
            Span::Absent { .. } => self.shared.task.absent == Absent::Withdrawn,
            Span::Both { .. } => false,
        })
    }

    /// Collects the rows of a segment that change.
    fn collect(
        &self,
        current: &SortedBatch,
        base: usize,
        segment: &Segment,
        patches: &mut Patches,
    ) -> Result<(), StoreError> {
        let (left, right) = segment.pairs();
        let Some((incoming, _)) = self.incoming.head().filter(|_| !left.is_empty()) else {
            return Ok(());
        };
        let differ = rows_differ(&current.batch, &left, &incoming.batch, &right, &mut patches.columns)
            .map_err(|error| self.shared.task.wrong(error))?;
        let changed: Vec<usize> = (0..differ.len()).filter(|pair| differ[*pair]).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let picked: Vec<u32> = changed.iter().map(|pair| right[*pair]).collect();
        let fresh = self.shared.fresh(&incoming.batch, &picked)?;
        let offset = u32::try_from(base).unwrap_or(u32::MAX);
        patches.add(changed.iter().map(|pair| offset + left[*pair]), fresh);
        Ok(())
    }

    /// Writes a row group of which rows have other values, but none come or go.
    fn patch(&mut self, source: &SourceFile, group: usize, patches: Patches) -> Result<(), StoreError> {
        let Some(mut patch) = self.output.begin_patch(source, group)? else {
            return self.rewrite(source, group, source.rows(group), &patches);
        };
        let schema = self.output.file_schema().clone();
        let old = patches::encode(self.shared, source, group, &patches, &schema, &mut patch)?;
        self.output.finish_patch(patch, source, group)?;
        self.count_fresh(&patches.joined(self.shared)?)?;
        self.shared.supersede(&old, &vec![REVISED; old.num_rows()], &mut self.diff)
    }

    /// Writes a row group anew: `passed` rows with the patches applied, the rest merged with the run.
    fn rewrite(
        &mut self,
        source: &SourceFile,
        group: usize,
        passed: usize,
        patches: &Patches,
    ) -> Result<(), StoreError> {
        let fresh = patches.joined(self.shared)?;
        self.count_fresh(&fresh)?;
        let mut base = 0;
        for batch in source.read(group, &self.shared.stored, None)? {
            let batch = batch?;
            let count = batch.num_rows();
            let known = passed.saturating_sub(base).min(count);
            let head = (&batch.slice(0, known), base);
            let head = patches::replay(self.shared, patches, &fresh, head, &mut self.diff)?;
            self.output.write(&head)?;
            if known < count {
                let rest = batch.slice(known, count - known);
                let keys = self.shared.task.key.rows(&rest)?;
                self.write_merged(&SortedBatch { batch: rest, rows: keys })?;
            }
            base += count;
        }
        Ok(())
    }

    /// Writes rows of the table merged with the run.
    fn write_merged(&mut self, current: &SortedBatch) -> Result<(), StoreError> {
        let mut start = 0;
        while start < current.batch.num_rows() {
            let segment = self.segment(current, start);
            self.write_segment(current, &segment)?;
            start = segment.current_end;
            self.incoming.advance(segment.incoming_count)?;
        }
        Ok(())
    }

    fn write_segment(&mut self, current: &SortedBatch, segment: &Segment) -> Result<(), StoreError> {
        let shared = self.shared;
        let wrong = |error| shared.task.wrong(error);
        let (left, right) = segment.pairs();
        let incoming = self.incoming.head().map(|(incoming, _)| &incoming.batch);
        let mut columns = vec![false; shared.task.content.fields().len()];
        let differ = match incoming {
            Some(incoming) => rows_differ(&current.batch, &left, incoming, &right, &mut columns).map_err(wrong)?,
            None => Vec::new(),
        };
        let mut merged = Merged::default();
        let mut pair = 0;
        for span in &segment.spans {
            match *span {
                Span::Absent { start, len } if shared.task.absent == Absent::Withdrawn => {
                    merged.go(start..start + len, WITHDRAWN);
                }
                Span::Absent { start, len } => merged.stay(start..start + len),
                Span::New { start, len } => merged.come(start..start + len),
                Span::Both { current, incoming, len } => {
                    for step in 0..len {
                        if differ[pair + step] {
                            merged.come(incoming + step..incoming + step + 1);
                            merged.go(current + step..current + step + 1, REVISED);
                        } else {
                            merged.stay(current + step..current + step + 1);
                        }
                    }
                    pair += len;
                }
            }
        }
        let fresh = match incoming {
            Some(incoming) => shared.fresh(incoming, &merged.fresh)?,
            None => RecordBatch::new_empty(shared.stored.clone()),
        };
        let batch = interleave_record_batch(&[&current.batch, &fresh], &merged.order).map_err(wrong)?;
        self.output.write(&batch)?;
        self.count_fresh(&fresh)?;
        if merged.old.is_empty() {
            return Ok(());
        }
        let picked = arrow::array::UInt32Array::from(merged.old);
        let old = arrow::compute::take_record_batch(&current.batch, &picked).map_err(wrong)?;
        shared.supersede(&old, &merged.changes, &mut self.diff)
    }

    fn count_fresh(&mut self, fresh: &RecordBatch) -> Result<(), StoreError> {
        self.diff.fresh += fresh.num_rows() as u64;
        self.diff.plus.add(fresh, is_content).map_err(|error| self.shared.task.wrong(error))
    }

    /// Writes rows of the run, which all come before the next row of the table, as long as `belongs` holds.
    fn new_rows_while(&mut self, belongs: impl Fn(&[u8]) -> bool) -> Result<(), StoreError> {
        while let Some((head, first)) = self.incoming.head() {
            let end = (first..head.batch.num_rows()).find(|row| !belongs(head.rows.row(*row).data()));
            let count = end.unwrap_or(head.batch.num_rows()) - first;
            if count == 0 {
                return Ok(());
            }
            let picked: Vec<u32> = (first..first + count).filter_map(|row| u32::try_from(row).ok()).collect();
            let fresh = self.shared.fresh(&head.batch, &picked)?;
            self.output.write(&fresh)?;
            self.count_fresh(&fresh)?;
            self.incoming.advance(count)?;
        }
        Ok(())
    }
}
