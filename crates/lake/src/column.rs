//! One column of a row group under construction. Texts are encoded by [`crate::texts`], everything else by the Parquet library.

use std::io::Write;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{Field, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::ZstdLevel;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};

use crate::texts::{self, TextChunk};

/// The encoder of a column.
pub(crate) enum Column {
    Texts(Box<TextChunk>),
    /// The leaves of one column.
    Other(Vec<ArrowColumnWriter>),
}

/// A column as it will be in the file.
pub(crate) enum Chunks {
    Texts(Bytes, Box<ColumnCloseResult>),
    /// One for each leaf.
    Other(Vec<ArrowColumnChunk>),
}

impl Column {
    /// Begins the columns of the next row group of a file, those of `schema`.
    pub(crate) fn begin<W: Write + Send>(
        file: &SerializedFileWriter<W>,
        factory: &ArrowRowGroupWriterFactory,
        schema: &SchemaRef,
        level: ZstdLevel,
    ) -> Result<Vec<Self>> {
        let described = file.schema_descr();
        let mut leaves = factory.create_column_writers(file.flushed_row_groups().len())?.into_iter().enumerate();
        let mut next = leaves.next();
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (root, field) in schema.fields().iter().enumerate() {
            let mut own = Vec::new();
            while let Some((index, leaf)) = next.take_if(|(index, _)| described.get_column_root_idx(*index) == root) {
                own.push((described.column(index), leaf));
                next = leaves.next();
            }
            columns.push(match own.as_slice() {
                [(column, _)] if texts::takes(field.data_type(), column) => {
                    Self::Texts(Box::new(TextChunk::new(column.clone(), level)?))
                }
                _ => Self::Other(own.into_iter().map(|(_, leaf)| leaf).collect()),
            });
        }
        Ok(columns)
    }

    /// Bytes so far, about.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Texts(chunk) => chunk.size(),
            Self::Other(leaves) => leaves.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum(),
        }
    }

    /// Adds rows. Texts may be plain or in a dictionary, whatever the field says and rows before were.
    pub(crate) fn write(&mut self, field: &Field, array: &ArrayRef) -> Result<()> {
        match self {
            Self::Texts(chunk) => chunk.write(array.as_ref()),
            Self::Other(leaves) => {
                let aligned: ArrayRef = match array.data_type() == field.data_type() {
                    true => array.clone(),
                    false => cast(array, field.data_type()).map_err(ParquetError::from)?,
                };
                for (leaf, values) in leaves.iter_mut().zip(compute_leaves(field, &aligned)?) {
                    leaf.write(&values)?;
                }
                Ok(())
            }
        }
    }

    /// Ends the column.
    pub(crate) fn close(self) -> Result<Chunks> {
        Ok(match self {
            Self::Texts(chunk) => {
                let (bytes, close) = chunk.close()?;
                Chunks::Texts(bytes, Box::new(close))
            }
            Self::Other(leaves) => {
                Chunks::Other(leaves.into_iter().map(ArrowColumnWriter::close).collect::<Result<_>>()?)
            }
        })
    }
}

impl Chunks {
    /// Adds the column to a row group, after those before it.
    pub(crate) fn append<W: Write + Send>(self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<()> {
        match self {
            Self::Texts(bytes, close) => group.append_column(&bytes, *close),
            Self::Other(leaves) => leaves.into_iter().try_for_each(|leaf| leaf.append_to_row_group(group)),
        }
    }
}
