//! Writes one Parquet file. Holds no file handle between writes: hundreds of partitions can be open at once.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use hambar_core::StoreError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use xxhash_rust::xxh3::Xxh3;

use crate::durable::Flusher;
use crate::error::file as file_error;
use crate::stats;

/// Rows of a row group.
pub(crate) const ROW_GROUP_ROWS: usize = 1 << 20;
/// Bytes of a data file at which the next one is begun.
pub(crate) const FILE_BYTES_TARGET: u64 = 128 * 1024 * 1024;
/// Encoded bytes kept in memory before they go to the file.
const SINK_BYTES: usize = 1024 * 1024;

/// Where new data files of a table are written, and whether they are already in place there.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    /// An existing local folder: the table's own, or scratch space.
    pub(crate) path: PathBuf,
    /// The partition's folder in the table, as [`crate::layout::folder`] names it.
    pub(crate) partition: String,
    /// True where the folder is the table's own; false where files are uploaded from it afterwards.
    pub(crate) in_place: bool,
    /// What flushes them where they are in place.
    pub(crate) flusher: Flusher,
}

/// A Parquet file under construction.
pub(crate) struct FileWriter {
    writer: ArrowWriter<Sink>,
    schema: SchemaRef,
    path: PathBuf,
    name: String,
    rows: u64,
    folder: Folder,
}

/// A finished Parquet file.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    /// Where it lies on this machine.
    pub(crate) path: PathBuf,
    /// Its name relative to the table's folder.
    pub(crate) name: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Delta's statistics.
    pub(crate) stats: String,
    /// Hash of its bytes, as [`digest`] makes it.
    pub(crate) digest: String,
}

impl Folder {
    /// The same folder, for files of the partition that lies in `partition`.
    pub(crate) fn within(&self, partition: String) -> Self {
        Self { partition, ..self.clone() }
    }

    /// Returns where a new file is written and its name in the table; makes the folder that it needs.
    pub(crate) fn new_file(&self) -> Result<(PathBuf, String), StoreError> {
        let file = format!("part-{}.parquet", uuid::Uuid::new_v4());
        if self.partition.is_empty() {
            return Ok((self.path.join(&file), file));
        }
        let name = format!("{}/{file}", self.partition);
        if !self.in_place {
            return Ok((self.path.join(&file), name));
        }
        let parent = self.path.join(&self.partition);
        std::fs::create_dir_all(&parent).map_err(|error| file_error("write", &parent, error))?;
        Ok((parent.join(&file), name))
    }
}

impl FileWriter {
    /// Begins a file for batches like those of `schema`.
    pub(crate) fn create(folder: &Folder, schema: &SchemaRef) -> Result<Self, StoreError> {
        let (path, name) = folder.new_file()?;
        let options = ArrowWriterOptions::new().with_properties(properties().build()).with_skip_arrow_metadata(true);
        let sink = Sink::new(path.clone());
        let writer = ArrowWriter::try_new_with_options(sink, schema.clone(), options)
            .map_err(|error| file_error("write", &path, error))?;
        Ok(Self { writer, schema: schema.clone(), path, name, rows: 0, folder: folder.clone() })
    }

    /// Adds rows; columns are brought to the encoding (plain or dictionary) of the file's first rows.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        let fail = |error: parquet::errors::ParquetError| file_error("write", &self.path, error);
        let aligned = align(batch, &self.schema).map_err(|error| file_error("write", &self.path, error))?;
        self.writer.write(&aligned).map_err(fail)?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Ends the row group, so that nothing of it stays in memory.
    pub(crate) fn end_row_group(&mut self) -> Result<(), StoreError> {
        self.writer.flush().map_err(|error| file_error("write", &self.path, error))
    }

    /// Bytes of the file so far, with an estimate for the open row group.
    pub(crate) fn size(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Ends the file. One that is in place is flushed to disk.
    pub(crate) fn finish(mut self) -> Result<Encoded, StoreError> {
        let path = self.path.clone();
        let metadata = self.writer.finish().map_err(|error| file_error("write", &path, error))?;
        finished(&self.folder, path, self.name, &self.schema, &metadata, self.writer.inner_mut())
    }
}

/// Describes a file whose last byte went to `sink`. One that is in place is flushed to disk.
pub(crate) fn finished(
    folder: &Folder,
    path: PathBuf,
    name: String,
    schema: &SchemaRef,
    metadata: &ParquetMetaData,
    sink: &mut Sink,
) -> Result<Encoded, StoreError> {
    sink.drain().map_err(|error| file_error("write", &path, error))?;
    let digest = shown(&sink.hash);
    let size = std::fs::metadata(&path).map_err(|error| file_error("write", &path, error))?.len();
    if folder.in_place {
        folder.flusher.flush(&path).map_err(|error| file_error("sync", &path, error))?;
    }
    Ok(Encoded { path, name, size, stats: stats::to_json(schema, metadata), digest })
}

impl std::fmt::Debug for FileWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("FileWriter").field("path", &self.path).field("rows", &self.rows).finish()
    }
}

pub(crate) fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_created_by(concat!("hambar ", env!("CARGO_PKG_VERSION")).to_owned())
}

/// The hash (XXH3-128) by which a file's bytes are known in the log. It finds accidents, not forgers.
pub(crate) fn digest(path: &Path) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; SINK_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(shown(&hash));
        }
        hash.update(&buffer[..read]);
    }
}

fn shown(hash: &Xxh3) -> String {
    format!("{:032x}", hash.digest128())
}

fn align(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let columns: Result<Vec<ArrayRef>, _> =
        batch
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| {
                if column.data_type() == field.data_type() {
                    Ok(column.clone())
                } else {
                    cast(column, field.data_type())
                }
            })
            .collect();
    RecordBatch::try_new(schema.clone(), columns?)
}

/// Collects bytes and appends them to a file, which is open only while that happens.
pub(crate) struct Sink {
    path: PathBuf,
    buffer: Vec<u8>,
    hash: Xxh3,
}

impl Sink {
    /// Makes a sink for the file at `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, buffer: Vec::new(), hash: Xxh3::new() }
    }

    fn drain(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            append(&self.path, &self.buffer)?;
            self.buffer = Vec::new();
        }
        Ok(())
    }
}

fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).open(path)?.write_all(bytes)
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        if bytes.len() >= SINK_BYTES {
            self.drain()?;
            append(&self.path, bytes)?;
            return Ok(bytes.len());
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= SINK_BYTES {
            self.drain()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()
    }
}
