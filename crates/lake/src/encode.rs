//! Writes one Parquet file. Holds no file handle between writes: hundreds of partitions can be open at once.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use hambar_core::StoreError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, ArrowWriterOptions};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use xxhash_rust::xxh3::Xxh3;

use crate::durable::Flusher;
use crate::error::file as file_error;
use crate::row_group::RowGroup;
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
    /// The files that go again unless they are kept; `None` where all stay.
    drafts: Option<Arc<Drafts>>,
}

/// Files of a run that no commit can name yet. They go with the last one who could still offer them to a commit, so that
/// a run that fails leaves nothing behind; after a crash they are left for vacuum.
#[derive(Debug, Default)]
struct Drafts {
    files: Mutex<Vec<PathBuf>>,
}

impl Drafts {
    fn files(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        // Paths are pushed and taken whole, so a panic elsewhere cannot leave the list half changed.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Drafts {
    fn drop(&mut self) {
        for path in self.files().drain(..) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::debug!(%error, path = %path.display(), "unused data file not deleted");
                }
                _ => {}
            }
        }
    }
}

/// A Parquet file under construction.
pub(crate) struct FileWriter {
    writer: SerializedFileWriter<Sink>,
    factory: ArrowRowGroupWriterFactory,
    open: Option<RowGroup>,
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
    /// A folder whose files stay.
    pub(crate) fn new(path: PathBuf, in_place: bool, flusher: Flusher) -> Self {
        Self { path, partition: String::new(), in_place, flusher, drafts: None }
    }

    /// The same folder, whose new files go again unless [`Folder::keep_drafts`] says that they stay.
    pub(crate) fn of_drafts(self) -> Self {
        Self { drafts: Some(Arc::default()), ..self }
    }

    /// Keeps the files that were made so far: a commit may be about to name them.
    pub(crate) fn keep_drafts(&self) {
        if let Some(drafts) = &self.drafts {
            drafts.files().clear();
        }
    }

    /// The same folder, for files of the partition that lies in `partition`.
    pub(crate) fn within(&self, partition: String) -> Self {
        Self { partition, ..self.clone() }
    }

    /// Returns where a new file is written and its name in the table; makes the folder that it needs.
    pub(crate) fn new_file(&self) -> Result<(PathBuf, String), StoreError> {
        let file = format!("part-{}.parquet", uuid::Uuid::new_v4());
        if !self.in_place || self.partition.is_empty() {
            let prefix = if self.partition.is_empty() { String::new() } else { format!("{}/", self.partition) };
            return Ok((self.draft(self.path.join(&file)), format!("{prefix}{file}")));
        }
        let parent = self.path.join(&self.partition);
        std::fs::create_dir_all(&parent).map_err(|error| file_error("write", &parent, error))?;
        Ok((self.draft(parent.join(&file)), format!("{}/{file}", self.partition)))
    }

    fn draft(&self, path: PathBuf) -> PathBuf {
        if let Some(drafts) = self.drafts.as_ref().filter(|_| self.in_place) {
            drafts.files().push(path.clone());
        }
        path
    }
}

impl FileWriter {
    /// Begins a file for batches like those of `schema`.
    pub(crate) fn create(folder: &Folder, schema: &SchemaRef) -> Result<Self, StoreError> {
        let (path, name) = folder.new_file()?;
        let options = ArrowWriterOptions::new().with_properties(properties().build()).with_skip_arrow_metadata(true);
        let sink = Sink::new(path.clone());
        let (writer, factory) = ArrowWriter::try_new_with_options(sink, schema.clone(), options)
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(|error| file_error("write", &path, error))?;
        let folder = folder.clone();
        Ok(Self { writer, factory, open: None, schema: schema.clone(), path, name, rows: 0, folder })
    }

    /// Adds rows; columns are brought to the encoding (plain or dictionary) of the file's first rows.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        let mut begin = 0;
        while begin < batch.num_rows() {
            let room = ROW_GROUP_ROWS - self.open.as_ref().map_or(0, RowGroup::rows);
            let piece = batch.slice(begin, room.min(batch.num_rows() - begin));
            begin += piece.num_rows();
            self.write_piece(&piece).map_err(|error| file_error("write", &self.path, error))?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn write_piece(&mut self, piece: &RecordBatch) -> Result<(), ParquetError> {
        let group = match &mut self.open {
            Some(group) => group,
            None => self.open.insert(RowGroup::begin(&self.writer, &self.factory, &self.schema, level())?),
        };
        group.write(piece)?;
        if group.rows() >= ROW_GROUP_ROWS { self.close_row_group() } else { Ok(()) }
    }

    fn close_row_group(&mut self) -> Result<(), ParquetError> {
        match self.open.take() {
            Some(group) => group.close(self.writer.next_row_group()?),
            None => Ok(()),
        }
    }

    /// Ends the row group, so that nothing of it stays in memory.
    pub(crate) fn end_row_group(&mut self) -> Result<(), StoreError> {
        self.close_row_group().map_err(|error| file_error("write", &self.path, error))
    }

    /// Bytes of the file so far, with an estimate for the open row group.
    pub(crate) fn size(&self) -> u64 {
        (self.writer.bytes_written() + self.open.as_ref().map_or(0, RowGroup::size)) as u64
    }

    /// Ends the file. One that is in place is flushed to disk.
    pub(crate) fn finish(mut self) -> Result<Encoded, StoreError> {
        let path = self.path.clone();
        self.end_row_group()?;
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

/// How hard zstd tries: the lowest level, which is three times as fast as the next ones for a few percent more bytes.
pub(crate) fn level() -> ZstdLevel {
    ZstdLevel::default()
}

pub(crate) fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(level()))
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
