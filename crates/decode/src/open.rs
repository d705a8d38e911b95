//! From one landed body to its records: undoes compression, walks archives, and opens one record source per member. Every
//! stream is read to its end after its source is done, so that its checksum and size were seen before anyone
//! believes the rows.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::archive::{self, Wanted};
use crate::compress::{self, Budget};
use crate::error::DecodeError;
use crate::input::Input;
use crate::pump::Ahead;
use crate::record::{RecordSource, SourceBatch};
use crate::spec::{Archive, Compression, DecodeJob, FormatKind};
use crate::{columnar, csv, excel, fixed, json, sdmx};

/// Takes the record source of one member (`None` where the body is no archive), reads it, and says whether to go on.
pub type EachMember<'a> = &'a mut dyn FnMut(Option<Arc<str>>, Box<dyn RecordSource>) -> Result<(), DecodeError>;

/// What was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenReport {
    /// Bytes after decompression, all members together.
    pub decoded_bytes: u64,
    /// Archive members read, in order.
    pub members: Vec<String>,
    /// The character encoding of the texts, found or declared; several where members differ.
    pub encoding: Option<String>,
}

/// Opens `input` as `job` says and hands each member's record source to `each`, in the archive's order.
///
/// Members that need random access (workbooks, Parquet, Arrow, and zips that come as a stream) are spooled into unnamed
/// files in `spool_dir`; nothing else is written. When this returns `Ok`, every byte of every wanted member was read and
/// its checksum, where the format has one, was right.
///
/// # Errors
/// The body is not what `job.format` says, is damaged or truncated, or goes beyond a limit; and what `each` returns.
pub fn for_each_member(
    input: Input,
    job: &DecodeJob,
    spool_dir: &Path,
    each: EachMember<'_>,
) -> Result<OpenReport, DecodeError> {
    let budget = Budget::new(job.limits.decoded_bytes_max);
    let encodings = Encodings::default();
    let mut opener =
        Opener { job, spool_dir, budget: budget.clone(), members: Vec::new(), encodings: Arc::clone(&encodings), each };
    let outcome = opener.body(input);
    let members = opener.members;
    let found = encodings.lock().unwrap_or_else(PoisonError::into_inner);
    let encoding =
        Some(found.iter().map(String::as_str).collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty());
    // Readers only see that a read failed; the stream knows why.
    match (outcome, budget.take_failure()) {
        (Ok(()) | Err(DecodeError::Read { .. } | DecodeError::Format { .. }), Some(failure)) => Err(failure),
        (Err(error), _) => Err(error),
        (Ok(()), None) => Ok(OpenReport { decoded_bytes: budget.decoded(), members, encoding }),
    }
}

struct Opener<'a> {
    job: &'a DecodeJob,
    spool_dir: &'a Path,
    budget: Budget,
    members: Vec<String>,
    encodings: Encodings,
    each: EachMember<'a>,
}

/// The encodings of all texts of a body.
type Encodings = Arc<Mutex<BTreeSet<String>>>;

/// A reader of text that tells its encoding.
struct Noted<S> {
    source: S,
    encoding: fn(&S) -> String,
    found: Encodings,
}

impl<S: RecordSource> RecordSource for Noted<S> {
    fn next_batch(&mut self) -> Result<Option<SourceBatch>, DecodeError> {
        let batch = self.source.next_batch()?;
        if batch.is_none() {
            let encoding = (self.encoding)(&self.source);
            self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(encoding);
        }
        Ok(batch)
    }
}

impl Opener<'_> {
    fn body(&mut self, input: Input) -> Result<(), DecodeError> {
        let (head, input) = head_of(input).map_err(read_error)?;
        let compression = match self.job.format.compression.unwrap_or(Compression::Auto) {
            Compression::Auto => compress::sniff(&head),
            declared => declared,
        };
        if matches!(compression, Compression::None | Compression::Auto) {
            return self.content(&head, input);
        }
        let stream = input.into_read().map_err(read_error)?;
        let stream = compress::decompressed(stream, compression, "body", &self.budget)?;
        let (head, stream) = compress::peek(stream).map_err(read_error)?;
        self.content(&head, Input::Stream(self.ahead(stream)?))
    }

    /// The body after decompression.
    fn content(&mut self, head: &[u8], input: Input) -> Result<(), DecodeError> {
        match self.archive(head)? {
            Some(Archive::Zip) => self.zip(input),
            Some(Archive::Tar) => self.tar(input),
            None => match input {
                Input::File(file) => {
                    let size = file.metadata().map_err(read_error)?.len();
                    self.budget.spend(size, "body")?;
                    self.open(None, Input::File(file))
                }
                Input::Stream(stream) => self.stream(None, self.counted(stream)?),
            },
        }
    }

    /// A stream that came uncompressed is not counted yet; one that was decompressed is.
    fn counted(&self, stream: Box<dyn Read + Send>) -> Result<Box<dyn Read + Send>, DecodeError> {
        if self.budget.decoded() > 0 {
            return Ok(stream);
        }
        compress::decompressed(stream, Compression::None, "body", &self.budget)
    }

    fn archive(&self, head: &[u8]) -> Result<Option<Archive>, DecodeError> {
        let format = &self.job.format;
        let found = archive::sniff(head);
        let is_zip_inside = matches!(format.kind, FormatKind::Xlsx | FormatKind::Ods);
        match (format.archive, found) {
            (Some(declared), None) => Ok(Some(declared)),
            (Some(declared), Some(found)) if declared == found => Ok(Some(declared)),
            (Some(declared), Some(found)) => Err(DecodeError::Setting {
                setting: "format.archive",
                what: format!("declared is {declared:?}, the bytes are {found:?}"),
            }),
            (None, Some(Archive::Zip)) if is_zip_inside && format.members.is_none() => Ok(None),
            (None, Some(found)) => Ok(Some(found)),
            (None, None) if format.members.is_some() => Err(DecodeError::Setting {
                setting: "format.members",
                what: "the body is neither zip nor tar".to_owned(),
            }),
            (None, None) => Ok(None),
        }
    }

    fn zip(&mut self, input: Input) -> Result<(), DecodeError> {
        let wanted = Wanted::new(self.job.format.members.as_deref())?;
        let file = Arc::new(self.file(input)?);
        for member in archive::zip::members(&file, &wanted)? {
            let stream = member.open(&file, &self.budget)?;
            self.member(member.name.as_str().into(), stream)?;
        }
        Ok(())
    }

    fn tar(&mut self, input: Input) -> Result<(), DecodeError> {
        let wanted = Wanted::new(self.job.format.members.as_deref())?;
        let stream = input.into_read().map_err(read_error)?;
        let stream = self.counted(stream)?;
        archive::tar::for_each(stream, &wanted, &mut |name, bytes| self.member(name, bytes))
    }

    /// A member of an archive, which may itself be compressed once more.
    fn member(&mut self, name: Arc<str>, stream: Box<dyn Read + Send>) -> Result<(), DecodeError> {
        self.members.push(name.to_string());
        let (head, stream) = compress::peek(stream).map_err(read_error)?;
        let stream = match compress::sniff(&head) {
            Compression::None | Compression::Auto => stream,
            compression => compress::decompressed(stream, compression, &name, &self.budget)?,
        };
        let stream = self.ahead(stream)?;
        self.stream(Some(name), stream)
    }

    /// Opens a stream and reads it to its end after its source is done.
    fn stream(&mut self, name: Option<Arc<str>>, stream: Box<dyn Read + Send>) -> Result<(), DecodeError> {
        let mut shared = Shared(Arc::new(Mutex::new(stream)));
        self.open(name, Input::Stream(Box::new(shared.clone())))?;
        io::copy(&mut shared, &mut io::sink()).map_err(read_error)?;
        Ok(())
    }

    fn open(&mut self, name: Option<Arc<str>>, input: Input) -> Result<(), DecodeError> {
        let job = self.job;
        let member = name.clone();
        // With `unpivot`, an ignored name may still be one of the wide columns.
        let ignore: &[String] = if job.unpivot.is_none() { &job.ignore } else { &[] };
        let source = match job.format.kind {
            FormatKind::Csv | FormatKind::Tsv => {
                let source = csv::CsvSource::open(input, &job.format, member, &job.limits)?;
                self.noted(source, csv::CsvSource::encoding)
            }
            FormatKind::FixedWidth => {
                let source = fixed::FixedSource::open(input, &job.format, member, &job.limits)?;
                self.noted(source, fixed::FixedSource::encoding)
            }
            FormatKind::Json => json::open_document(input, job, member)?,
            FormatKind::Ndjson => json::open_lines(input, job, member)?,
            FormatKind::Parquet => columnar::open_parquet(self.file(input)?, ignore, member)?,
            FormatKind::Arrow => columnar::open_arrow(self.file(input)?, ignore, member)?,
            FormatKind::Xlsx | FormatKind::Xls | FormatKind::Ods => {
                excel::open(self.file(input)?, &job.format, member)?
            }
            FormatKind::SdmxCsv | FormatKind::SdmxMl | FormatKind::SdmxJson => sdmx::open(input, job, member)?,
        };
        (self.each)(name, source)
    }

    /// A source whose encoding is noted once its end was reached: before, nobody knows it for certain.
    fn noted<S: RecordSource + 'static>(&self, source: S, encoding: fn(&S) -> String) -> Box<dyn RecordSource> {
        Box::new(Noted { source, encoding, found: Arc::clone(&self.encodings) })
    }

    fn file(&self, input: Input) -> Result<File, DecodeError> {
        input.into_file(|| tempfile::tempfile_in(self.spool_dir)).map_err(read_error)
    }

    /// Decompression and parsing go on at once where there is a thread for it.
    fn ahead(&self, stream: Box<dyn Read + Send>) -> Result<Box<dyn Read + Send>, DecodeError> {
        if self.job.limits.threads <= 1 {
            return Ok(stream);
        }
        Ok(Box::new(Ahead::new(stream).map_err(read_error)?))
    }
}

fn read_error(source: io::Error) -> DecodeError {
    DecodeError::Read { file: "body".to_owned(), source }
}

fn head_of(input: Input) -> io::Result<(Vec<u8>, Input)> {
    match input {
        Input::File(file) => {
            let mut head = vec![0; compress::HEAD_BYTES];
            let mut filled = 0;
            loop {
                let read = file.read_at(&mut head[filled..], filled as u64)?;
                filled += read;
                if read == 0 || filled == head.len() {
                    break;
                }
            }
            head.truncate(filled);
            Ok((head, Input::File(file)))
        }
        Input::Stream(stream) => {
            let (head, stream) = compress::peek(stream)?;
            Ok((head, Input::Stream(stream)))
        }
    }
}

/// A stream that its source and its opener both hold.
#[derive(Clone)]
struct Shared(Arc<Mutex<Box<dyn Read + Send>>>);

impl Read for Shared {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(into)
    }
}
