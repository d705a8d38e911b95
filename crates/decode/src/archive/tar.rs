//! Tar as a stream: a thread walks the archive and hands over the bytes of the wanted regular files. Links, devices and
//! sparse files are never followed or made; asking for one is an error. The archive must end with its zero block.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Wanted, check_count, check_name, refused};
use crate::error::DecodeError;

/// Bytes handed over at once.
const BLOCK_BYTES: usize = 256 * 1024;
/// Blocks that wait to be taken.
const BLOCKS_QUEUED: usize = 4;
/// A tar archive consists of blocks of this many bytes.
const TAR_BLOCK_BYTES: u64 = 512;

enum Event {
    Member(String),
    Bytes(Vec<u8>),
    MemberEnd,
    Failed(DecodeError),
}

/// Calls `each` with the name and bytes of every wanted member, in the archive's order. `each` must read the bytes to
/// their end.
pub(crate) fn for_each(
    stream: Box<dyn Read + Send>,
    wanted: &Wanted,
    each: &mut dyn FnMut(Arc<str>, Box<dyn Read + Send>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let (sender, events) = sync_channel(BLOCKS_QUEUED);
    let events = Arc::new(Mutex::new(events));
    let to_find = wanted.clone();
    let thread = std::thread::Builder::new()
        .name("decode-tar".to_owned())
        .spawn(move || {
            if let Err(error) = walk(stream, &to_find, &sender) {
                // Fails only when the other side has stopped listening.
                drop(sender.send(Event::Failed(error)));
            }
        })
        .map_err(|source| DecodeError::Read { file: "body".to_owned(), source })?;
    let outcome = hand_over(&events, each);
    drop(events);
    match thread.join() {
        Ok(()) => outcome,
        Err(_panic) => Err(refused("tar", 0, "its reader stumbled over it: the archive is malformed")),
    }
}

fn hand_over(
    events: &Arc<Mutex<Receiver<Event>>>,
    each: &mut dyn FnMut(Arc<str>, Box<dyn Read + Send>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    loop {
        let event = events.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match event {
            Err(_) => return Ok(()),
            Ok(Event::Failed(error)) => return Err(error),
            Ok(Event::Member(name)) => {
                let failure = Arc::new(Mutex::new(None));
                let bytes = MemberBytes {
                    events: Arc::clone(events),
                    failure: Arc::clone(&failure),
                    block: Vec::new(),
                    taken: 0,
                    ended: false,
                };
                let outcome = each(name.into(), Box::new(bytes));
                // The archive's own failure is why the member could not be read.
                match failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    Some(failure) => return Err(failure),
                    None => outcome?,
                }
            }
            Ok(Event::Bytes(_) | Event::MemberEnd) => {
                return Err(refused("tar", 0, "a member was not read to its end"));
            }
        }
    }
}

/// The bytes of one member.
struct MemberBytes {
    events: Arc<Mutex<Receiver<Event>>>,
    failure: Arc<Mutex<Option<DecodeError>>>,
    block: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl Read for MemberBytes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.block.len() {
            if self.ended {
                return Ok(0);
            }
            let event = self.events.lock().unwrap_or_else(PoisonError::into_inner).recv();
            match event {
                Ok(Event::Bytes(block)) => (self.block, self.taken) = (block, 0),
                Ok(Event::MemberEnd) => self.ended = true,
                Ok(Event::Failed(error)) => {
                    let seen = io::Error::other(error.to_string());
                    *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return Err(seen);
                }
                Ok(Event::Member(_)) | Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let count = into.len().min(self.block.len() - self.taken);
        into[..count].copy_from_slice(&self.block[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

fn walk(stream: Box<dyn Read + Send>, wanted: &Wanted, sender: &SyncSender<Event>) -> Result<(), DecodeError> {
    let mut archive = tar::Archive::new(Tail { inner: stream, bytes: 0, zeros: 0 });
    let mut members_end = 0;
    let (mut all, mut found) = (Vec::<String>::new(), Vec::<String>::new());
    let wrong = |index: usize, error: io::Error| refused("tar", index, error.to_string());
    let entries = archive.entries().map_err(|error| wrong(0, error))?;
    for (index, entry) in entries.enumerate() {
        let mut entry = entry.map_err(|error| wrong(index, error))?;
        check_count(index + 1)?;
        let kind = entry.header().entry_type();
        let stored = if kind.is_file() || kind.is_contiguous() { entry.size() } else { 0 };
        let stored = stored.checked_next_multiple_of(TAR_BLOCK_BYTES).unwrap_or(u64::MAX);
        members_end = entry.raw_file_position().saturating_add(stored);
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        check_name(&name, "tar", index)?;
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        all.push(name.clone());
        if !wanted.matches(&name) {
            continue;
        }
        if !(kind.is_file() || kind.is_contiguous()) {
            return Err(refused("tar", index, format!("`{name}` is no regular file but {kind:?}")));
        }
        found.push(name.clone());
        if matches!(wanted, Wanted::Only) && found.len() > 1 {
            break;
        }
        if !send_member(&mut entry, name, index, sender)? {
            return Ok(());
        }
    }
    let names: Vec<&str> = all.iter().map(String::as_str).collect();
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    wanted.check_found(&found, &names)?;
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(|error| wrong(all.len(), error))?;
    // Zeros at the end of the last member are no end mark.
    if rest.zeros < TAR_BLOCK_BYTES || rest.bytes < members_end.saturating_add(TAR_BLOCK_BYTES) {
        return Err(refused("tar", all.len(), "the archive stops without its end mark, it is truncated"));
    }
    Ok(())
}

/// Sends one member's bytes; false if nobody listens any more.
fn send_member(
    entry: &mut tar::Entry<'_, Tail>,
    name: String,
    index: usize,
    sender: &SyncSender<Event>,
) -> Result<bool, DecodeError> {
    let size = entry.size();
    let label = name.clone();
    if sender.send(Event::Member(name)).is_err() {
        return Ok(false);
    }
    let mut sent = 0;
    loop {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        let read = entry.take(BLOCK_BYTES as u64).read_to_end(&mut block);
        read.map_err(|error| refused("tar", index, error.to_string()))?;
        if block.is_empty() {
            break;
        }
        sent += block.len() as u64;
        if sender.send(Event::Bytes(block)).is_err() {
            return Ok(false);
        }
    }
    if sent != size {
        return Err(refused("tar", index, format!("`{label}` has {sent} bytes, {size} were announced")));
    }
    Ok(sender.send(Event::MemberEnd).is_ok())
}

/// Counts the bytes, and how many zero bytes came last.
struct Tail {
    inner: Box<dyn Read + Send>,
    bytes: u64,
    zeros: u64,
}

impl Read for Tail {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        let zeros = into[..read].iter().rev().take_while(|byte| **byte == 0).count();
        self.zeros = if zeros == read { self.zeros + zeros as u64 } else { zeros as u64 };
        self.bytes += read as u64;
        Ok(read)
    }
}
