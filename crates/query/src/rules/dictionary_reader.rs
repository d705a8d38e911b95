//! Lets the dictionaries of Parquet files through to the plan: chosen text columns are read as numbers into a dictionary, in
//! files where nearly all their pages are stored so. The Parquet library decides by the Arrow schema in a file's footer; here
//! the footer is given another one.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ARROW_SCHEMA_META_KEY, encode_arrow_schema, parquet_to_arrow_schema};
use parquet::basic::Encoding;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{ColumnChunkMetaData, FileMetaData, KeyValue, ParquetMetaData};

/// Row groups of a file for each one that may have pages without a dictionary.
const GROUPS_PER_OTHER_MIN: usize = 8;

/// The type in which texts keep the dictionary of their file.
pub(crate) fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Returns the names of the columns whose texts are numbers into a dictionary, in most row groups of a file. For pages of
/// the others the Parquet library makes dictionaries, which costs more than it gains there.
pub(crate) fn dictionary_columns(footer: &ParquetMetaData) -> BTreeSet<String> {
    let schema = footer.file_metadata().schema_descr();
    let groups = footer.row_groups();
    let is_mostly = |column: usize| {
        let others = groups.iter().filter(|group| !is_dictionary(group.column(column))).count();
        others * GROUPS_PER_OTHER_MIN <= groups.len()
    };
    (0..schema.num_columns())
        .filter(|column| schema.column(*column).path().parts().len() == 1 && is_mostly(*column))
        .map(|column| schema.column(column).name().to_owned())
        .collect()
}

fn is_dictionary(chunk: &ColumnChunkMetaData) -> bool {
    let is_only = |encoding| chunk.page_encoding_stats_mask().is_some_and(|mask| mask.is_only(encoding));
    chunk.dictionary_page_offset().is_some()
        && (is_only(Encoding::RLE_DICTIONARY) || is_only(Encoding::PLAIN_DICTIONARY))
}

/// Readers of files that give dictionaries for some columns.
pub(crate) struct DictionaryReaders {
    inner: Arc<dyn ParquetFileReaderFactory>,
    columns: Arc<BTreeSet<String>>,
}

impl DictionaryReaders {
    pub(crate) fn new(inner: Arc<dyn ParquetFileReaderFactory>, columns: BTreeSet<String>) -> Self {
        Self { inner, columns: Arc::new(columns) }
    }
}

impl fmt::Debug for DictionaryReaders {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DictionaryReaders").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl ParquetFileReaderFactory for DictionaryReaders {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_bytes: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let inner = self.inner.create_reader(partition, file, footer_bytes, metrics)?;
        Ok(Box::new(DictionaryReader { inner, columns: Arc::clone(&self.columns) }))
    }
}

struct DictionaryReader {
    inner: Box<dyn AsyncFileReader + Send>,
    columns: Arc<BTreeSet<String>>,
}

impl AsyncFileReader for DictionaryReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let wanted = Arc::clone(&self.columns);
        let footer = self.inner.get_metadata(options);
        async move { with_dictionaries(footer.await?, &wanted) }.boxed()
    }
}

/// Returns the footer with a schema that asks for the dictionaries of the wanted columns.
fn with_dictionaries(footer: Arc<ParquetMetaData>, wanted: &BTreeSet<String>) -> ParquetResult<Arc<ParquetMetaData>> {
    let have = dictionary_columns(&footer);
    let file = footer.file_metadata();
    let schema = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())?;
    let is_kept = |field: &Field| {
        let is_text = matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        is_text && wanted.contains(field.name()) && have.contains(field.name())
    };
    if !schema.fields().iter().any(|field| is_kept(field)) {
        return Ok(footer);
    }
    let fields = schema.fields().iter().map(|field| match is_kept(field) {
        true => Arc::new(field.as_ref().clone().with_data_type(dictionary_type())),
        false => Arc::clone(field),
    });
    let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone());
    let mut keys = file.key_value_metadata().cloned().unwrap_or_default();
    keys.retain(|pair| pair.key != ARROW_SCHEMA_META_KEY);
    keys.push(KeyValue::new(ARROW_SCHEMA_META_KEY.to_owned(), encode_arrow_schema(&schema)));
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        Some(keys),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    let made = ParquetMetaData::new(file, footer.row_groups().to_vec()).into_builder();
    let made = made.set_column_index(footer.column_index().cloned()).set_offset_index(footer.offset_index().cloned());
    Ok(Arc::new(made.build()))
}
