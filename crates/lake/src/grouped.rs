//! Writes one Parquet file of a sorted table, row group by row group.
//!
//! A row group is encoded from rows, copied from another file as it is, or made of both: columns in which nothing
//! changed are copied, the others encoded. The statistics of copied columns come along, so the file's are complete.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use hambar_core::StoreError;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::basic::Encoding;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterPropertiesBuilder;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use crate::column::{Chunks, Column};
use crate::encode::{Encoded, Folder, Sink, finished, level, properties};
use crate::error::file as file_error;
use crate::source::SourceFile;

/// Encoded bytes at which a row group ends before it has all its rows.
const GROUP_BYTES: usize = 32 * 1024 * 1024;
/// Rows from which the nature of a column is guessed.
const SAMPLE_ROWS: usize = 4 * 1024;
/// Fewer rows say nothing.
const SAMPLE_ROWS_MIN: usize = 512;

/// How the columns of a file are encoded, where that is not the usual way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Encodings {
    /// Columns whose values hardly repeat: a dictionary would only cost time and space.
    plain: BTreeSet<String>,
    /// Columns of rising whole numbers, of which the differences are stored.
    rising: BTreeSet<String>,
}

impl Encodings {
    /// Guesses from the first rows of a file.
    pub(crate) fn of_rows(batch: &RecordBatch) -> Self {
        let mut encodings = Self::default();
        if batch.num_rows() < SAMPLE_ROWS_MIN {
            return encodings;
        }
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let sample = column.slice(0, column.len().min(SAMPLE_ROWS));
            match nature(&sample) {
                Nature::Repeating => {}
                Nature::Scattered => {
                    encodings.plain.insert(field.name().clone());
                }
                Nature::Rising => {
                    encodings.rising.insert(field.name().clone());
                }
            }
        }
        encodings
    }

    /// Takes over what another file does.
    pub(crate) fn of_file(source: &SourceFile) -> Self {
        let mut encodings = Self::default();
        if source.groups() == 0 {
            return encodings;
        }
        for column in source.group(0).columns() {
            let [name] = column.column_path().parts() else {
                continue;
            };
            if column.encodings().any(|encoding| encoding == Encoding::DELTA_BINARY_PACKED) {
                encodings.rising.insert(name.clone());
            } else if column.dictionary_page_offset().is_none() {
                encodings.plain.insert(name.clone());
            }
        }
        encodings
    }

    fn set(&self, mut builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        for name in self.plain.iter().chain(&self.rising) {
            builder = builder.set_column_dictionary_enabled(ColumnPath::from(name.as_str()), false);
        }
        for name in &self.rising {
            builder = builder.set_column_encoding(ColumnPath::from(name.as_str()), Encoding::DELTA_BINARY_PACKED);
        }
        builder
    }
}

enum Nature {
    Repeating,
    Scattered,
    Rising,
}

/// Says of what nature the values of a column of numbers are; other columns count as repeating.
fn nature(sample: &ArrayRef) -> Nature {
    let (mut values, is_whole): (Vec<u64>, bool) = match sample.data_type() {
        DataType::Int64 => {
            (sample.as_primitive::<Int64Type>().values().iter().map(|value| value.cast_unsigned()).collect(), true)
        }
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _) => {
            let instants = sample.as_primitive::<TimestampMicrosecondType>().values();
            (instants.iter().map(|value| value.cast_unsigned()).collect(), true)
        }
        DataType::Float64 => {
            (sample.as_primitive::<Float64Type>().values().iter().map(|value| value.to_bits()).collect(), false)
        }
        _ => return Nature::Repeating,
    };
    let is_rising = is_whole && sample.null_count() == 0 && values.is_sorted_by_key(|value| value.cast_signed());
    let distinct: HashSet<u64> = values.drain(..).collect();
    match (distinct.len() * 2 > sample.len(), is_rising) {
        (true, true) => Nature::Rising,
        (true, false) => Nature::Scattered,
        (false, _) => Nature::Repeating,
    }
}

/// A file of row groups under construction.
pub(crate) struct GroupedFile {
    writer: SerializedFileWriter<Sink>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    folder: Folder,
    path: PathBuf,
    name: String,
    open: Option<OpenGroup>,
}

struct OpenGroup {
    columns: Vec<Column>,
    rows: usize,
}

impl GroupedFile {
    /// Begins a file for batches like those of `schema`.
    pub(crate) fn create(folder: &Folder, schema: &SchemaRef, encodings: &Encodings) -> Result<Self, StoreError> {
        let (path, name) = folder.new_file()?;
        let fail = |error: ParquetError| file_error("write", &path, error);
        let layout = ArrowSchemaConverter::new().convert(schema).map_err(fail)?;
        let properties = encodings.set(properties()).build();
        let sink = Sink::new(path.clone());
        let writer = SerializedFileWriter::new(sink, layout.root_schema_ptr(), Arc::new(properties)).map_err(fail)?;
        let factory = ArrowRowGroupWriterFactory::new(&writer, schema.clone());
        Ok(Self { writer, factory, schema: schema.clone(), folder: folder.clone(), path, name, open: None })
    }

    /// Adds rows to the open row group; says whether it is full by its bytes. The caller counts rows.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<GroupSize, StoreError> {
        let fail = |error: ParquetError| file_error("write", &self.path, error);
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let columns = Column::begin(&self.writer, &self.factory, &self.schema, level()).map_err(fail)?;
                self.open.insert(OpenGroup { columns, rows: 0 })
            }
        };
        for ((column, field), array) in open.columns.iter_mut().zip(self.schema.fields()).zip(batch.columns()) {
            column.write(field, array).map_err(fail)?;
        }
        open.rows += batch.num_rows();
        let bytes: usize = open.columns.iter().map(Column::size).sum();
        Ok(GroupSize { rows: open.rows, is_full: bytes >= GROUP_BYTES })
    }

    /// Rows of the open row group.
    pub(crate) fn open_rows(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.rows)
    }

    /// Bytes of the file so far, with an estimate for the open row group.
    pub(crate) fn size(&self) -> u64 {
        let open = self.open.iter().flat_map(|open| &open.columns);
        let open: usize = open.map(Column::size).sum();
        (self.writer.bytes_written() + open) as u64
    }

    /// Ends the open row group.
    pub(crate) fn end_group(&mut self) -> Result<(), StoreError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let chunks = open.columns.into_iter().map(Column::close).collect::<Result<Vec<_>, _>>();
        let written = chunks.and_then(|chunks| {
            let mut group = self.writer.next_row_group()?;
            for chunk in chunks {
                chunk.append(&mut group)?;
            }
            group.close().map(drop)
        });
        written.map_err(|error| file_error("write", &self.path, error))
    }

    /// Says whether row groups of `source` can be taken over: its columns are this file's.
    pub(crate) fn takes(&self, source: &SourceFile) -> bool {
        let (own, other) = (self.writer.schema_descr(), source.layout());
        own.num_columns() == other.num_columns()
            && own.columns().iter().zip(other.columns()).all(|(own, other)| own.as_ref() == other.as_ref())
    }

    /// Begins a row group that takes over the columns of row group `group` of `source`, except those that
    /// [`Patch::encode`] is given anew. Ends the open row group.
    pub(crate) fn patch<'a>(&mut self, source: &'a SourceFile, group: usize) -> Result<Patch<'a>, StoreError> {
        self.end_group()?;
        let columns = Column::begin(&self.writer, &self.factory, &self.schema, level());
        let columns = columns.map_err(|error| file_error("write", &self.path, error))?;
        let writers = columns.into_iter().enumerate().collect();
        Ok(Patch { source, group, writers, encoded: BTreeMap::new(), path: self.path.clone() })
    }

    /// Adds the row group that `patch` stands for.
    pub(crate) fn finish_patch(&mut self, patch: Patch<'_>) -> Result<(), StoreError> {
        let Patch { source, group, mut encoded, .. } = patch;
        let roots: Vec<usize> = (0..self.writer.schema_descr().num_columns())
            .map(|leaf| self.writer.schema_descr().get_column_root_idx(leaf))
            .collect();
        let mut written = || {
            let mut target = self.writer.next_row_group()?;
            let mut done = None;
            for (leaf, root) in roots.iter().enumerate() {
                if let Some(chunks) = encoded.remove(root) {
                    // All leaves of the column.
                    chunks.append(&mut target)?;
                    done = Some(root);
                } else if done != Some(root) {
                    target.append_column(source.bytes(), source.chunk(group, leaf))?;
                }
            }
            target.close().map(drop)
        };
        written().map_err(|error: ParquetError| file_error("write", &self.path, error))
    }

    /// Ends the file. One that is in place is flushed to disk.
    pub(crate) fn finish(mut self) -> Result<Encoded, StoreError> {
        self.end_group()?;
        let metadata = self.writer.finish().map_err(|error| file_error("write", &self.path, error))?;
        finished(&self.folder, self.path, self.name, &self.schema, &metadata, self.writer.inner_mut())
    }
}

impl std::fmt::Debug for GroupedFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GroupedFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// How far the open row group has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupSize {
    pub(crate) rows: usize,
    pub(crate) is_full: bool,
}

/// A row group of which some columns are encoded anew.
pub(crate) struct Patch<'a> {
    source: &'a SourceFile,
    group: usize,
    /// The encoder of each column, by its place in the file.
    writers: BTreeMap<usize, Column>,
    encoded: BTreeMap<usize, Chunks>,
    path: PathBuf,
}

impl Patch<'_> {
    /// Encodes the column at `place`, whose values come piece by piece.
    pub(crate) fn encode(
        &mut self,
        place: usize,
        field: &Field,
        pieces: impl Iterator<Item = Result<ArrayRef, StoreError>>,
    ) -> Result<(), StoreError> {
        let fail = |error: ParquetError| file_error("write", &self.path, error);
        let missing = || fail(ParquetError::General("a column is not in the file, or twice in a patch".to_owned()));
        let mut column = self.writers.remove(&place).ok_or_else(missing)?;
        for piece in pieces {
            column.write(field, &piece?).map_err(fail)?;
        }
        self.encoded.insert(place, column.close().map_err(fail)?);
        Ok(())
    }
}
