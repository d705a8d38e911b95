//! Reads one large file with several threads and hands its pieces on in order.
//!
//! The file is cut into chunks of equal size. Each thread guesses that the first line end in its chunk is outside
//! quotes and reads on from there. The reader in front knows where the chunk before really ended: a piece that starts
//! right there is right, because reading depends on nothing else; at any other piece the rest of the chunk is read
//! again. So the threads only ever save time, they never decide.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::csv::cursor::{Cursor, Layout, Piece};
use crate::csv::window::Feed;
use crate::encoding::Charset;
use crate::error::DecodeError;

/// Pieces that one thread may be ahead.
const QUEUE_PIECES: usize = 2;

/// How a file is divided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Offset of the first record.
    pub(crate) data_start: u64,
    /// Length of the file.
    pub(crate) length: u64,
    /// Bytes of a chunk.
    pub(crate) chunk_bytes: u64,
    /// Threads.
    pub(crate) threads: usize,
    /// How the bytes are to be read.
    pub(crate) charset: Charset,
}

impl Plan {
    fn chunks(&self) -> u64 {
        self.length.saturating_sub(self.data_start).div_ceil(self.chunk_bytes)
    }

    /// Offset at which the chunk ends; the last one has no end, it goes as far as the file.
    fn end(&self, chunk: u64) -> u64 {
        if chunk + 1 >= self.chunks() { u64::MAX } else { self.data_start + (chunk + 1) * self.chunk_bytes }
    }
}

enum Message {
    Piece(Piece),
    /// The thread cannot go on in this chunk.
    Stuck,
    /// The chunk is done up to this offset.
    End(u64),
}

/// The reader in front.
#[derive(Debug)]
pub(crate) struct Parallel {
    plan: Plan,
    receivers: Vec<Receiver<Message>>,
    threads: Vec<JoinHandle<()>>,
    /// Tells the threads that the guess of UTF-8 was wrong.
    legacy: Arc<AtomicBool>,
    /// Reads what the threads got wrong.
    own: Cursor,
    mode: Mode,
    chunk: u64,
    /// Offset of the next record.
    expected: u64,
    charset: Charset,
    multibyte: bool,
    records: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Pieces of the threads are taken.
    Taking,
    /// The threads' pieces of this chunk are dropped.
    Dropping,
    /// The rest of the chunk is read here.
    Reading,
    /// The input is at its end.
    Finished,
}

impl Parallel {
    /// Starts the threads. `own` has read the header.
    pub(crate) fn start(file: &Arc<File>, layout: &Arc<Layout>, plan: Plan, own: Cursor) -> Result<Self, DecodeError> {
        let legacy = Arc::new(AtomicBool::new(false));
        let mut receivers = Vec::new();
        let mut threads = Vec::new();
        for index in 0..plan.threads {
            let (sender, receiver) = sync_channel(QUEUE_PIECES);
            let piece_bytes = plan.chunk_bytes as usize;
            let feed = Feed::File(Arc::clone(file), 0);
            let mut cursor = Cursor::new(feed, Arc::clone(layout), piece_bytes, plan.charset);
            // A thread does not know what was met before its chunk, so it may not decide about the encoding.
            cursor.set_multibyte(true, 0);
            let worker = Worker { cursor, plan, sender, legacy: Arc::clone(&legacy) };
            let builder = std::thread::Builder::new().name(format!("csv-{index}"));
            let spawned = builder.spawn(move || worker.run(index as u64));
            threads.push(spawned.map_err(|source| DecodeError::Read { file: layout.file.clone(), source })?);
            receivers.push(receiver);
        }
        Ok(Self {
            plan,
            receivers,
            threads,
            legacy,
            multibyte: own.multibyte(),
            own,
            mode: Mode::Taking,
            chunk: 0,
            expected: plan.data_start,
            charset: plan.charset,
            records: 0,
        })
    }

    /// Returns how the bytes are read.
    pub(crate) fn charset(&self) -> Charset {
        self.charset
    }

    /// Returns the next piece in the file's order.
    pub(crate) fn next_piece(&mut self) -> Result<Option<Piece>, DecodeError> {
        loop {
            match self.mode {
                Mode::Finished => return Ok(None),
                Mode::Reading => match self.own.next_piece(self.plan.end(self.chunk))? {
                    Some(piece) => {
                        self.charset = piece.charset;
                        if self.charset == Charset::LEGACY {
                            self.legacy.store(true, Ordering::Relaxed);
                        }
                        return Ok(Some(self.took(piece)));
                    }
                    None => {
                        self.expected = self.own.offset();
                        self.next_chunk();
                    }
                },
                Mode::Taking | Mode::Dropping => {
                    if let Some(piece) = self.receive() {
                        return Ok(Some(self.took(piece)));
                    }
                }
            }
        }
    }

    fn receive(&mut self) -> Option<Piece> {
        let from = (self.chunk % self.plan.threads.max(1) as u64) as usize;
        let received = self.receivers.get(from).and_then(|receiver| receiver.recv().ok());
        match received {
            Some(Message::Piece(piece)) => {
                let reads_alike = piece.charset == self.charset || !piece.multibyte;
                if self.mode == Mode::Taking && piece.start == self.expected && reads_alike {
                    return Some(piece);
                }
                self.mode = Mode::Dropping;
            }
            Some(Message::Stuck) => self.mode = Mode::Dropping,
            Some(Message::End(offset)) if self.mode == Mode::Taking && self.expected <= offset => {
                self.expected = offset;
                self.next_chunk();
            }
            // The thread is done with the chunk, or gone.
            Some(Message::End(_)) | None => {
                if self.expected < self.plan.end(self.chunk) {
                    self.own.seek(self.expected, self.charset);
                    self.own.set_multibyte(self.multibyte, self.records);
                    self.mode = Mode::Reading;
                } else {
                    self.next_chunk();
                }
            }
        }
        None
    }

    fn took(&mut self, piece: Piece) -> Piece {
        self.expected = piece.end;
        self.multibyte |= piece.multibyte;
        self.records += piece.records as u64;
        if piece.footer {
            self.mode = Mode::Finished;
        }
        piece
    }

    fn next_chunk(&mut self) {
        self.chunk += 1;
        self.mode = if self.chunk < self.plan.chunks() { Mode::Taking } else { Mode::Finished };
    }
}

impl Drop for Parallel {
    fn drop(&mut self) {
        // Without receivers the threads' next send fails, and they end.
        self.receivers.clear();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing to say that the reader in front does not find out itself.
            let _ended = thread.join();
        }
    }
}

struct Worker {
    cursor: Cursor,
    plan: Plan,
    sender: SyncSender<Message>,
    legacy: Arc<AtomicBool>,
}

/// The reader in front is gone.
struct Gone;

impl Worker {
    fn run(mut self, first: u64) {
        let mut chunk = first;
        while chunk < self.plan.chunks() {
            if self.read_chunk(chunk).is_err() {
                return;
            }
            chunk += self.plan.threads as u64;
        }
    }

    fn read_chunk(&mut self, chunk: u64) -> Result<(), Gone> {
        let charset = if self.legacy.load(Ordering::Relaxed) { Charset::LEGACY } else { self.plan.charset };
        let begin = self.plan.data_start + chunk * self.plan.chunk_bytes;
        let end = self.plan.end(chunk);
        let found = if chunk == 0 {
            self.cursor.seek(begin, charset);
            Ok(true)
        } else {
            // The byte before tells whether a line starts right at the chunk's start.
            self.cursor.seek(begin - 1, charset);
            self.cursor.skip_to_line()
        };
        if !matches!(found, Ok(true)) {
            self.send(Message::Stuck)?;
            return self.send(Message::End(begin));
        }
        loop {
            match self.cursor.next_piece(end) {
                Ok(Some(piece)) => {
                    let footer = piece.footer;
                    self.send(Message::Piece(piece))?;
                    if footer {
                        break;
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    // The reader in front meets the same error and reports it, if the guess was right.
                    self.send(Message::Stuck)?;
                    break;
                }
            }
        }
        self.send(Message::End(self.cursor.offset()))
    }

    fn send(&self, message: Message) -> Result<(), Gone> {
        self.sender.send(message).map_err(|_| Gone)
    }
}
