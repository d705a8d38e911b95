//! One Parquet column chunk of texts that repeat: a dictionary page, and data pages of numbers.
//!
//! The Parquet library hashes every value again, however well the rows were encoded before. Here a batch's dictionary is
//! looked up once per distinct value, and a row costs a table look-up. Once the dictionary is full, texts are written out.

use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::{DataType, Int32Type};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, EncodingMask, PageType, Type, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use crate::hybrid;
use crate::text_dictionary::{Bounds, Dictionary, cut_high, cut_low};

/// Rows of a page.
const PAGE_ROWS: usize = 20_000;
/// Bytes of a page of written out texts.
const PAGE_BYTES: usize = 1024 * 1024;
/// Bytes of a dictionary.
const DICTIONARY_BYTES: usize = 2 * 1024 * 1024;
/// A dictionary is kept while a text stands for so many rows.
const ROWS_PER_TEXT_MIN: usize = 2;
/// No number.
const NONE: u32 = u32::MAX;

/// Says whether a column of this type, stored as `column`, can be written here.
pub(crate) fn takes(data_type: &DataType, column: &ColumnDescPtr) -> bool {
    let is_text = match data_type {
        DataType::Utf8 => true,
        DataType::Dictionary(key, value) => **key == DataType::Int32 && **value == DataType::Utf8,
        _ => false,
    };
    is_text && column.max_rep_level() == 0 && column.max_def_level() <= 1 && column.physical_type() == Type::BYTE_ARRAY
}

/// A column chunk under construction.
pub(crate) struct TextChunk {
    column: ColumnDescPtr,
    compressor: Compressor<'static>,
    level: ZstdLevel,
    dictionary: Dictionary,
    /// The numbers of a batch's values in the dictionary.
    numbers: Vec<u32>,
    page: OpenPage,
    /// The dictionary is full: texts are written out from here on.
    is_plain: bool,
    /// Data pages as they will be in the file.
    pages: TrackedWrite<Vec<u8>>,
    written: Written,
}

/// What is known of the finished pages.
struct Written {
    rows: usize,
    nulls: u64,
    numbered: i32,
    plain: i32,
    uncompressed: i64,
    column_index: ColumnIndexBuilder,
    offset_index: OffsetIndexBuilder,
    bounds: Option<Bounds>,
}

/// The page that rows are added to.
#[derive(Default)]
struct OpenPage {
    rows: usize,
    nulls: u64,
    /// 1 for each row with a value, 0 for NULL; only once there is a NULL.
    levels: Vec<u32>,
    /// Numbers of the values.
    numbers: Vec<u32>,
    /// The values themselves, once the dictionary is full.
    texts: Vec<u8>,
    bounds: Option<Bounds>,
}

impl TextChunk {
    /// Begins a chunk of `column`.
    pub(crate) fn new(column: ColumnDescPtr, level: ZstdLevel) -> Result<Self> {
        let compressor = Compressor::new(level.compression_level()).map_err(external)?;
        let written = Written {
            rows: 0,
            nulls: 0,
            numbered: 0,
            plain: 0,
            uncompressed: 0,
            column_index: ColumnIndexBuilder::new(Type::BYTE_ARRAY),
            offset_index: OffsetIndexBuilder::new(),
            bounds: None,
        };
        Ok(Self {
            column,
            compressor,
            level,
            dictionary: Dictionary::default(),
            numbers: Vec::new(),
            page: OpenPage::default(),
            is_plain: false,
            pages: TrackedWrite::new(Vec::new()),
            written,
        })
    }

    /// Bytes of the chunk so far, about.
    pub(crate) fn size(&self) -> usize {
        self.pages.bytes_written() + self.dictionary.texts.len() + self.page.numbers.len() + self.page.texts.len()
    }

    /// Adds the rows of a text array, encoded or plain.
    pub(crate) fn write(&mut self, array: &dyn Array) -> Result<()> {
        if array.data_type() == &DataType::Utf8 {
            let texts = array.as_string::<i32>();
            return self.write_rows(texts, array.len(), |row| texts.is_valid(row).then_some(row));
        }
        let encoded = array.as_dictionary_opt::<Int32Type>();
        let values = encoded.and_then(|encoded| encoded.values().as_string_opt::<i32>());
        let (Some(encoded), Some(values)) = (encoded, values) else {
            return Err(ParquetError::General(format!("{} is no text", array.data_type())));
        };
        let keys = encoded.keys().values();
        let value = |row: usize| keys.get(row).map_or(0, |key| *key as usize);
        if encoded.nulls().is_none() && values.null_count() == 0 {
            return self.write_rows(values, array.len(), |row| Some(value(row)));
        }
        let is_valid = |row: usize| encoded.is_valid(row) && values.is_valid(value(row));
        self.write_rows(values, array.len(), |row| is_valid(row).then(|| value(row)))
    }

    /// Adds `rows` rows; `value` says where in `values` the text of a row is.
    fn write_rows(&mut self, values: &StringArray, rows: usize, value: impl Fn(usize) -> Option<usize>) -> Result<()> {
        self.numbers.clear();
        self.numbers.resize(values.len(), NONE);
        let mut row = 0;
        while row < rows {
            let end = rows.min(row + PAGE_ROWS - self.page.rows);
            while row < end && self.page.texts.len() < PAGE_BYTES {
                let (begin, first) = (row, value(row));
                row += 1;
                match first {
                    Some(index) if self.is_plain => self.add_text(values, index),
                    Some(index) => {
                        // Rows with one text mostly follow each other.
                        while row < end && value(row) == first {
                            row += 1;
                        }
                        self.add_number(values, index, row - begin);
                    }
                    None => self.page.add_null(),
                }
            }
            self.end_page_if_full()?;
        }
        Ok(())
    }

    #[inline]
    fn add_number(&mut self, values: &StringArray, index: usize, rows: usize) {
        self.page.add_valid(rows);
        let known = self.numbers.get(index).copied().unwrap_or(NONE);
        let number = if known == NONE { self.number(values, index) } else { known };
        self.page.numbers.resize(self.page.numbers.len() + rows, number);
    }

    #[inline]
    fn add_text(&mut self, values: &StringArray, index: usize) {
        self.page.add_valid(1);
        self.page.add_text(values.value(index).as_bytes());
    }

    fn number(&mut self, values: &StringArray, index: usize) -> u32 {
        let number = self.dictionary.number(values.value(index).as_bytes());
        if let Some(known) = self.numbers.get_mut(index) {
            *known = number;
        }
        number
    }

    fn end_page_if_full(&mut self) -> Result<()> {
        let is_full = self.dictionary.texts.len() >= DICTIONARY_BYTES || self.has_many_texts();
        if self.page.rows >= PAGE_ROWS || self.page.texts.len() >= PAGE_BYTES || (is_full && !self.is_plain) {
            self.end_page()?;
        }
        self.is_plain |= is_full;
        Ok(())
    }

    /// Says whether the texts of the finished pages hardly repeat.
    fn has_many_texts(&self) -> bool {
        let rows = self.written.rows + self.page.rows;
        rows >= PAGE_ROWS && self.dictionary.len() * ROWS_PER_TEXT_MIN > rows
    }

    fn end_page(&mut self) -> Result<()> {
        let mut page = std::mem::take(&mut self.page);
        if page.rows == 0 {
            return Ok(());
        }
        let mut body = Vec::with_capacity(page.rows / 2 + page.texts.len() + 64);
        if self.column.max_def_level() > 0 {
            page.put_levels(&mut body);
        }
        let encoding = if self.is_plain {
            body.extend_from_slice(&page.texts);
            Encoding::PLAIN
        } else {
            let width = hybrid::bit_width(self.dictionary.len());
            body.push(width);
            hybrid::encode(&page.numbers, width, &mut body);
            page.bounds = self.dictionary.bounds(&page.numbers);
            Encoding::RLE_DICTIONARY
        };
        let compressed = self.compressor.compress(&body).map_err(external)?;
        let data = Page::DataPage {
            buf: Bytes::from(compressed),
            num_values: page.rows as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let page_writer = &mut SerializedPageWriter::new(&mut self.pages);
        let spec = page_writer.write_page(CompressedPage::new(data, body.len()))?;
        self.written.add(&page, encoding, &spec);
        // Its memory serves the next page.
        page.clear();
        self.page = page;
        Ok(())
    }

    /// Ends the chunk: its bytes, and what the file's footer says of it.
    pub(crate) fn close(mut self) -> Result<(Bytes, ColumnCloseResult)> {
        self.end_page()?;
        let mut head = TrackedWrite::new(Vec::new());
        let compressed = self.compressor.compress(&self.dictionary.texts).map_err(external)?;
        let page = Page::DictionaryPage {
            buf: Bytes::from(compressed),
            num_values: self.dictionary.len() as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let page = CompressedPage::new(page, self.dictionary.texts.len());
        let spec = SerializedPageWriter::new(&mut head).write_page(page)?;
        let mut bytes = head.into_inner()?;
        let head_bytes = bytes.len();
        bytes.extend_from_slice(&self.pages.into_inner()?);
        self.written.uncompressed += spec.uncompressed_size as i64;
        let close = self.written.close(self.column, self.level, bytes.len())?;
        Ok((Bytes::from(bytes), close.update_dictionary_location(head_bytes)?))
    }
}

impl Written {
    fn add(&mut self, page: &OpenPage, encoding: Encoding, spec: &PageWriteSpec) {
        let nulls = page.nulls.cast_signed();
        match &page.bounds {
            None => self.column_index.append(true, Vec::new(), Vec::new(), nulls),
            Some(bounds) => {
                let (low, high) = (cut_low(&bounds.low).0, cut_high(&bounds.high).0);
                self.column_index.append(false, low, high, nulls);
                match &mut self.bounds {
                    Some(all) => all.take_in(bounds),
                    None => self.bounds = Some(bounds.clone()),
                }
            }
        }
        self.offset_index.append_row_count(page.rows as i64);
        self.offset_index.append_offset_and_size(spec.offset as i64, spec.compressed_size as i32);
        match encoding {
            Encoding::PLAIN => self.plain += 1,
            _ => self.numbered += 1,
        }
        self.rows += page.rows;
        self.nulls += page.nulls;
        self.uncompressed += spec.uncompressed_size as i64;
    }

    fn close(self, column: ColumnDescPtr, level: ZstdLevel, bytes: usize) -> Result<ColumnCloseResult> {
        let stats = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let mut pages = vec![
            stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1),
            stats(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, self.numbered),
            stats(PageType::DATA_PAGE, Encoding::PLAIN, self.plain),
        ];
        pages.retain(|page| page.count > 0);
        let encodings = [Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY];
        let low = self.bounds.as_ref().map(|bounds| cut_low(&bounds.low));
        let high = self.bounds.as_ref().map(|bounds| cut_high(&bounds.high));
        let exact = |bound: &Option<(Vec<u8>, bool)>| bound.as_ref().is_none_or(|(_, is_exact)| *is_exact);
        let (low_is_exact, high_is_exact) = (exact(&low), exact(&high));
        let text = |bound: Option<(Vec<u8>, bool)>| bound.map(|(text, _)| ByteArray::from(text));
        let statistics = ValueStatistics::new(text(low), text(high), None, Some(self.nulls), false)
            .with_min_is_exact(low_is_exact)
            .with_max_is_exact(high_is_exact);
        let metadata = ColumnChunkMetaData::builder(column)
            .set_compression(Compression::ZSTD(level))
            .set_encodings_mask(EncodingMask::new_from_encodings(encodings.iter()))
            .set_page_encoding_stats(pages)
            .set_total_compressed_size(bytes as i64)
            .set_total_uncompressed_size(self.uncompressed)
            .set_num_values(self.rows as i64)
            .set_data_page_offset(0)
            .set_statistics(Statistics::ByteArray(statistics))
            .build()?;
        Ok(ColumnCloseResult {
            bytes_written: bytes as u64,
            rows_written: self.rows as u64,
            metadata,
            bloom_filter: None,
            column_index: Some(self.column_index.build()?),
            offset_index: Some(self.offset_index.build()),
        })
    }
}

impl OpenPage {
    #[inline]
    fn add_valid(&mut self, rows: usize) {
        self.rows += rows;
        if self.nulls > 0 {
            self.levels.resize(self.levels.len() + rows, 1);
        }
    }

    fn add_null(&mut self) {
        if self.nulls == 0 {
            self.levels.resize(self.rows, 1);
        }
        self.levels.push(0);
        self.nulls += 1;
        self.rows += 1;
    }

    fn add_text(&mut self, text: &[u8]) {
        self.texts.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.texts.extend_from_slice(text);
        match &mut self.bounds {
            Some(bounds) => bounds.take(text),
            None => self.bounds = Some(Bounds::of(text, text)),
        }
    }

    fn put_levels(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&[0; 4]);
        if self.nulls == 0 {
            hybrid::repeat(1, self.rows, 1, out);
        } else {
            hybrid::encode(&self.levels, 1, out);
        }
        let length = (out.len() - begin - 4) as u32;
        if let Some(place) = out.get_mut(begin..begin + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }

    fn clear(&mut self) {
        self.rows = 0;
        self.nulls = 0;
        self.levels.clear();
        self.numbers.clear();
        self.texts.clear();
        self.bounds = None;
    }
}

fn external(error: std::io::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
