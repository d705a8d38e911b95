//! A row group under construction.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::basic::ZstdLevel;
use parquet::errors::Result;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};

use crate::column::Column;

/// The columns of a row group.
pub(crate) struct RowGroup {
    columns: Vec<Column>,
    schema: SchemaRef,
    rows: usize,
}

impl RowGroup {
    /// Begins the next row group of a file.
    pub(crate) fn begin<W: Write + Send>(
        file: &SerializedFileWriter<W>,
        factory: &ArrowRowGroupWriterFactory,
        schema: &SchemaRef,
        level: ZstdLevel,
    ) -> Result<Self> {
        Ok(Self { columns: Column::begin(file, factory, schema, level)?, schema: schema.clone(), rows: 0 })
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes so far, about.
    pub(crate) fn size(&self) -> usize {
        self.columns.iter().map(Column::size).sum()
    }

    /// Adds rows; columns that are encoded otherwise (plain or dictionary) than the first rows' are brought in line.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        for ((column, field), array) in self.columns.iter_mut().zip(self.schema.fields()).zip(batch.columns()) {
            column.write(field, array)?;
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    /// Ends the row group.
    pub(crate) fn close<W: Write + Send>(self, mut group: SerializedRowGroupWriter<'_, W>) -> Result<()> {
        for column in self.columns {
            column.close()?.append(&mut group)?;
        }
        group.close()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, DictionaryArray, Int64Array, StringArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Field, Int32Type, Schema};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
    use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
    use parquet::file::properties::WriterProperties;

    use super::*;

    type Texts = Vec<Option<String>>;

    fn batch(texts: &Texts, encoded: bool) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..texts.len() as i64));
        let texts: ArrayRef = if encoded {
            Arc::new(texts.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>())
        } else {
            Arc::new(StringArray::from_iter(texts.iter().map(Option::as_deref)))
        };
        RecordBatch::try_from_iter_with_nullable([("text", texts, true), ("number", numbers, true)]).unwrap()
    }

    /// Writes row groups of batches and reads the file back.
    fn written(groups: &[Vec<RecordBatch>]) -> (RecordBatch, Arc<ParquetMetaData>) {
        let properties = WriterProperties::builder().build();
        let schema = groups[0][0].schema();
        let (mut file, factory) = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))
            .unwrap()
            .into_serialized_writer()
            .unwrap();
        for batches in groups {
            let mut group = RowGroup::begin(&file, &factory, &schema, ZstdLevel::default()).unwrap();
            assert!(matches!(group.columns[0], Column::Texts(_)) && matches!(group.columns[1], Column::Other(_)));
            batches.iter().for_each(|batch| group.write(batch).unwrap());
            group.close(file.next_row_group().unwrap()).unwrap();
        }
        let bytes = Bytes::from(file.into_inner().unwrap());
        let plain =
            Schema::new(vec![Field::new("text", DataType::Utf8, true), Field::new("number", DataType::Int64, true)]);
        let options =
            ArrowReaderOptions::new().with_schema(Arc::new(plain)).with_page_index_policy(PageIndexPolicy::Required);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).unwrap();
        let (metadata, schema) = (builder.metadata().clone(), builder.schema().clone());
        let batches: Vec<RecordBatch> = builder.build().unwrap().collect::<Result<_, _>>().unwrap();
        (concat_batches(&schema, &batches).unwrap(), metadata)
    }

    fn check(groups: &[Vec<(Texts, bool)>]) {
        let batches: Vec<Vec<RecordBatch>> =
            groups.iter().map(|group| group.iter().map(|(texts, encoded)| batch(texts, *encoded)).collect()).collect();
        let (read, metadata) = written(&batches);
        let expected: Vec<&Option<String>> = groups.iter().flatten().flat_map(|(texts, _)| texts).collect();
        let texts = read.column(0).as_string::<i32>();
        assert!(texts.iter().eq(expected.iter().map(|text| text.as_deref())));
        for (index, group) in groups.iter().enumerate() {
            let all: Vec<&String> = group.iter().flat_map(|(texts, _)| texts).flatten().collect();
            let rows = group.iter().map(|(texts, _)| texts.len()).sum::<usize>();
            let chunk = metadata.row_group(index).column(0);
            let statistics = chunk.statistics().unwrap();
            assert_eq!(statistics.null_count_opt(), Some((rows - all.len()) as u64));
            let low = statistics.min_bytes_opt().map(<[u8]>::to_vec);
            let high = statistics.max_bytes_opt().map(<[u8]>::to_vec);
            assert!(all.iter().all(|text| low.as_deref() <= Some(text.as_bytes())));
            assert!(all.iter().all(|text| high.as_deref() >= Some(text.as_bytes())));
            assert_eq!((low.is_some(), high.is_some()), (!all.is_empty(), !all.is_empty()));
        }
    }

    #[test]
    fn texts_come_back_whatever_they_are() {
        let cycle =
            |count: usize, of: usize| -> Texts { (0..count).map(|row| Some(format!("v{}", row % of))).collect() };
        let gaps: Texts = (0..50_000).map(|row| (row % 7 > 2).then(|| format!("g{}", row / 900))).collect();
        let long: Texts = (0..70).map(|row| Some(format!("{}{row}", "Ж".repeat(40 + row)))).collect();
        check(&[vec![(cycle(70_000, 3), true), (cycle(30, 30), false)]]);
        check(&[vec![(gaps.clone(), true)], vec![(gaps, false), (cycle(9, 9), true)]]);
        check(&[vec![(vec![None; 20_001], true), (vec![None], false)]]);
        check(&[vec![(long, false), (vec![Some(String::new()), None], true)]]);
        check(&[vec![(vec![Some(char::MAX.to_string().repeat(30))], true)]]);
    }

    #[test]
    fn a_full_dictionary_is_left() {
        let unique: Texts =
            (0..90_000).map(|row| (row % 1000 != 5).then(|| format!("text number {row:030}"))).collect();
        let repeated: Texts = (0..30_000).map(|row| Some(format!("{:01000}", row % 2))).collect();
        check(&[vec![(unique.clone(), false), (repeated.clone(), true), (unique, true), (repeated, false)]]);
    }
}
