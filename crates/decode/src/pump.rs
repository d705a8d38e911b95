//! Work on a thread of its own with a short bounded queue between: readers that borrow what they read from (workbooks),
//! and streams that are cheap to read ahead (decompression). A panic in there becomes an error here.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::error::DecodeError;
use crate::record::{RecordSource, SourceBatch};

/// Batches that wait to be taken.
const BATCHES_QUEUED: usize = 2;
/// Bytes read ahead at once.
const AHEAD_BYTES: usize = 256 * 1024;
/// Blocks of [`AHEAD_BYTES`] that wait to be taken.
const AHEAD_QUEUED: usize = 4;

/// Takes the batches of a pumped reader; an error of it means that nobody takes any more.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(SourceBatch) -> Result<(), DecodeError>;

/// A record source whose reader runs on its own thread.
pub(crate) struct Pumped {
    batches: Option<Receiver<Result<SourceBatch, DecodeError>>>,
    thread: Option<JoinHandle<()>>,
    file: String,
    format: &'static str,
}

/// Starts `read` on a thread of its own.
pub(crate) fn pumped(
    file: &str,
    format: &'static str,
    read: impl FnOnce(Sink<'_>) -> Result<(), DecodeError> + Send + 'static,
) -> Result<Box<dyn RecordSource>, DecodeError> {
    let (sender, batches) = sync_channel(BATCHES_QUEUED);
    let thread = std::thread::Builder::new()
        .name(format!("decode-{format}"))
        .spawn(move || {
            let mut sink = |batch| sender.send(Ok(batch)).map_err(|_| DecodeError::Stopped);
            match read(&mut sink) {
                Ok(()) | Err(DecodeError::Stopped) => {}
                // Nobody listens any more when this fails, and then nobody misses the error.
                Err(error) => drop(sender.send(Err(error))),
            }
        })
        .map_err(|source| DecodeError::Read { file: file.to_owned(), source })?;
    Ok(Box::new(Pumped { batches: Some(batches), thread: Some(thread), file: file.to_owned(), format }))
}

impl RecordSource for Pumped {
    fn next_batch(&mut self) -> Result<Option<SourceBatch>, DecodeError> {
        let Some(batches) = &self.batches else {
            return Ok(None);
        };
        if let Ok(batch) = batches.recv() {
            if batch.is_err() {
                self.batches = None;
            }
            return batch.map(Some);
        }
        self.batches = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_panic)) => Err(DecodeError::Format {
                file: self.file.clone(),
                format: self.format,
                place: "an unknown place".to_owned(),
                what: "its reader stumbled over it: the file is malformed".to_owned(),
            }),
            Some(Ok(())) | None => Ok(None),
        }
    }
}

impl Drop for Pumped {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // A panic of a reader that nobody listens to has no one to be told to.
            drop(thread.join());
        }
    }
}

/// A stream that is read ahead on a thread of its own.
pub(crate) struct Ahead {
    blocks: Option<Receiver<io::Result<Vec<u8>>>>,
    thread: Option<JoinHandle<()>>,
    block: Vec<u8>,
    taken: usize,
}

impl Ahead {
    /// Starts reading `stream`.
    pub(crate) fn new(stream: Box<dyn Read + Send>) -> io::Result<Self> {
        let (sender, blocks) = sync_channel(AHEAD_QUEUED);
        let thread = std::thread::Builder::new().name("decode-ahead".to_owned()).spawn(move || {
            read_blocks(stream, &sender);
        })?;
        Ok(Self { blocks: Some(blocks), thread: Some(thread), block: Vec::new(), taken: 0 })
    }
}

fn read_blocks(mut stream: Box<dyn Read + Send>, sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut block = Vec::with_capacity(AHEAD_BYTES);
        let read = stream.by_ref().take(AHEAD_BYTES as u64).read_to_end(&mut block);
        let is_end = block.len() < AHEAD_BYTES;
        if !block.is_empty() && sender.send(Ok(block)).is_err() {
            return;
        }
        if let Err(error) = read {
            drop(sender.send(Err(error)));
            return;
        }
        if is_end {
            return;
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.block.len() {
            let Some(blocks) = &self.blocks else {
                return Ok(0);
            };
            match blocks.recv() {
                Ok(Ok(block)) => (self.block, self.taken) = (block, 0),
                Ok(Err(error)) => {
                    self.blocks = None;
                    return Err(error);
                }
                Err(_) => {
                    self.blocks = None;
                    let ended = self.thread.take().map(JoinHandle::join);
                    if matches!(ended, Some(Err(_))) {
                        return Err(io::Error::other("the reader of this stream stumbled over it"));
                    }
                }
            }
        }
        let count = into.len().min(self.block.len() - self.taken);
        into[..count].copy_from_slice(&self.block[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.blocks = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
