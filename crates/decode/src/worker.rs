//! What a decode worker says to its parent: frames on a pipe. One frame is `kind` (one byte), `length` (four bytes,
//! little endian) and that many bytes. Rows travel as Arrow IPC streams, cut into frames at batch borders.
//!
//! | kind | bytes |
//! |---|---|
//! | `N` | the beginning of a new IPC stream of rows: its schema, and its first batch |
//! | `R` | the next batch of that stream |
//! | `J` | rejected rows, a whole IPC stream |
//! | `D` | the report, JSON; the last frame of a worker that succeeded |
//! | `E` | the error, JSON; the last frame of a worker that failed |

use std::io::{self, Read, Write};

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::{StreamDecoder, StreamReader};
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use hambar_core::{Chain, Classified, ErrorClass};
use serde::{Deserialize, Serialize};

use crate::error::DecodeError;
use crate::record::{Conformed, DecodeReport};

/// One frame holds at most this many bytes; a worker that announces more is not believed.
pub const FRAME_BYTES_MAX: u32 = 1024 * 1024 * 1024;

/// What the parent receives.
#[derive(Debug)]
pub enum Frame {
    /// Rows in the table's schema; text columns may be dictionary-encoded.
    Rows(RecordBatch),
    /// Rejected rows.
    Rejected(RecordBatch),
    /// The end of a worker that succeeded.
    Done(DecodeReport),
    /// The end of a worker that failed.
    Failed(Failure),
}

/// An error as it crosses the pipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The class's name.
    pub class: String,
    /// The message with its causes.
    pub message: String,
    /// What may help.
    pub hint: Option<String>,
}

impl Failure {
    /// Describes `error`.
    pub fn of(error: &DecodeError) -> Self {
        Self { class: error.class().name().to_owned(), message: Chain(error).to_string(), hint: error.hint() }
    }

    /// Returns the class, [`ErrorClass::Internal`] for a name that nobody knows.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::from_name(&self.class).unwrap_or(ErrorClass::Internal)
    }
}

/// Writes frames.
#[expect(missing_debug_implementations, reason = "Arrow's stream writer has none")]
pub struct FrameWriter<W: Write> {
    out: W,
    rows: Option<(SchemaRef, StreamWriter<Vec<u8>>)>,
}

impl<W: Write> FrameWriter<W> {
    /// Starts on `out`.
    pub fn new(out: W) -> Self {
        Self { out, rows: None }
    }

    /// Sends one conformed batch.
    ///
    /// # Errors
    /// The pipe's errors; Arrow's for a type that IPC cannot carry.
    pub fn conformed(&mut self, conformed: &Conformed) -> io::Result<()> {
        if let Some(rejected) = &conformed.rejected {
            let mut stream = StreamWriter::try_new(Vec::new(), rejected.schema_ref()).map_err(arrow_to_io)?;
            stream.write(rejected).map_err(arrow_to_io)?;
            self.frame(b'J', &stream.into_inner().map_err(arrow_to_io)?)?;
        }
        if conformed.rows.num_rows() > 0 {
            self.rows(&conformed.rows)?;
        }
        Ok(())
    }

    /// Sends the report and ends.
    ///
    /// # Errors
    /// The pipe's errors.
    pub fn done(mut self, report: &DecodeReport) -> io::Result<()> {
        self.frame(b'D', &serde_json::to_vec(report)?)?;
        self.out.flush()
    }

    /// Sends the error and ends.
    ///
    /// # Errors
    /// The pipe's errors.
    pub fn failed(mut self, failure: &Failure) -> io::Result<()> {
        self.frame(b'E', &serde_json::to_vec(failure)?)?;
        self.out.flush()
    }

    fn rows(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let is_same = self.rows.as_ref().is_some_and(|(schema, _)| schema == batch.schema_ref());
        let kind = if is_same { b'R' } else { b'N' };
        if !is_same {
            let stream = StreamWriter::try_new(Vec::new(), batch.schema_ref()).map_err(arrow_to_io)?;
            self.rows = Some((batch.schema(), stream));
        }
        let Some((_, stream)) = &mut self.rows else {
            return Err(io::Error::other("no stream of rows"));
        };
        stream.write(batch).map_err(arrow_to_io)?;
        let bytes = std::mem::take(stream.get_mut());
        self.frame(kind, &bytes)
    }

    fn frame(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= FRAME_BYTES_MAX);
        let length = length
            .ok_or_else(|| io::Error::other(format!("a batch of {} bytes is too large for a frame", bytes.len())))?;
        self.out.write_all(&[kind])?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(bytes)
    }
}

/// Reads frames until [`Frame::Done`], [`Frame::Failed`] or an error.
#[derive(Debug)]
pub struct FrameReader<R: Read> {
    input: R,
    rows: StreamDecoder,
    pending: Buffer,
    is_finished: bool,
}

impl<R: Read> FrameReader<R> {
    /// Starts on `input`.
    pub fn new(input: R) -> Self {
        Self { input, rows: StreamDecoder::new(), pending: Buffer::from(Vec::<u8>::new()), is_finished: false }
    }

    /// Returns the next frame; `None` after the last one.
    ///
    /// # Errors
    /// `UnexpectedEof` where the worker died before its last frame; `InvalidData` for anything that is no frame.
    pub fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        if self.is_finished {
            return Ok(None);
        }
        loop {
            if !self.pending.is_empty() {
                if let Some(batch) = self.rows.decode(&mut self.pending).map_err(arrow_to_io)? {
                    return Ok(Some(Frame::Rows(batch)));
                }
                continue;
            }
            let (kind, bytes) = self.read_frame()?;
            match kind {
                b'N' => {
                    self.rows = StreamDecoder::new();
                    self.pending = Buffer::from(bytes);
                }
                b'R' => self.pending = Buffer::from(bytes),
                b'J' => {
                    let mut stream = StreamReader::try_new(io::Cursor::new(bytes), None).map_err(arrow_to_io)?;
                    let batch = stream.next().ok_or_else(|| invalid("rejects without a batch"))?;
                    return Ok(Some(Frame::Rejected(batch.map_err(arrow_to_io)?)));
                }
                b'D' => {
                    self.is_finished = true;
                    return Ok(Some(Frame::Done(serde_json::from_slice(&bytes)?)));
                }
                b'E' => {
                    self.is_finished = true;
                    return Ok(Some(Frame::Failed(serde_json::from_slice(&bytes)?)));
                }
                other => return Err(invalid(&format!("unknown frame kind {other}"))),
            }
        }
    }

    fn read_frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0_u8; 5];
        self.input.read_exact(&mut head)?;
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        if length > FRAME_BYTES_MAX {
            return Err(invalid(&format!("a frame of {length} bytes")));
        }
        // Grows with what really arrives, so that a false length costs nothing.
        let mut bytes = Vec::with_capacity(usize::try_from(length.min(32 * 1024 * 1024)).unwrap_or(0));
        let received = self.input.by_ref().take(u64::from(length)).read_to_end(&mut bytes)?;
        if received as u64 != u64::from(length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((head[0], bytes))
    }
}

fn arrow_to_io(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        other => invalid(&other.to_string()),
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn plain(texts: Vec<&str>) -> RecordBatch {
        RecordBatch::try_from_iter([("a", Arc::new(StringArray::from(texts)) as ArrayRef)]).unwrap()
    }

    fn encoded(texts: Vec<&str>) -> RecordBatch {
        let array: DictionaryArray<Int32Type> = texts.into_iter().collect();
        RecordBatch::try_from_iter([("a", Arc::new(array) as ArrayRef)]).unwrap()
    }

    #[test]
    fn frames_bring_back_what_was_sent() {
        let mut pipe = Vec::new();
        let mut writer = FrameWriter::new(&mut pipe);
        let batches = [
            plain(vec!["x", "y"]),
            plain(vec!["z"]),
            encoded(vec!["p", "q", "p"]),
            encoded(vec!["r"]),
            plain(vec!["w"]),
        ];
        for rows in &batches {
            writer.conformed(&Conformed { rows: rows.clone(), rejected: Some(plain(vec!["bad"])) }).unwrap();
        }
        writer.done(&DecodeReport { records: 7, ..DecodeReport::default() }).unwrap();

        let mut reader = FrameReader::new(pipe.as_slice());
        for rows in &batches {
            assert!(matches!(reader.next_frame().unwrap(), Some(Frame::Rejected(bad)) if bad == plain(vec!["bad"])));
            assert!(matches!(reader.next_frame().unwrap(), Some(Frame::Rows(batch)) if batch == *rows));
        }
        assert!(matches!(reader.next_frame().unwrap(), Some(Frame::Done(report)) if report.records == 7));
        assert!(reader.next_frame().unwrap().is_none());
    }

    #[test]
    fn broken_pipes_and_garbage_are_errors() {
        let mut pipe = Vec::new();
        let mut writer = FrameWriter::new(&mut pipe);
        writer.conformed(&Conformed { rows: plain(vec!["x"]), rejected: None }).unwrap();
        for cut in 0..pipe.len() {
            let mut reader = FrameReader::new(&pipe[..cut]);
            let ended =
                std::iter::repeat_with(|| reader.next_frame()).find(|frame| !matches!(frame, Ok(Some(Frame::Rows(_)))));
            assert!(ended.unwrap().is_err(), "cut at {cut}");
        }
        assert!(FrameReader::new(b"X\0\0\0\0".as_slice()).next_frame().is_err());
        assert!(FrameReader::new(b"R\xff\xff\xff\xff".as_slice()).next_frame().is_err());
    }
}
