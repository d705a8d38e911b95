//! Puts one commit into a log: created only if absent, read back before it counts.

use std::time::Duration;

use bytes::Bytes;
use hambar_core::StoreError;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};
use serde_json::{Map, Value};

use crate::actions::Line;
use crate::error::{damaged, storage};
use crate::log::TableLog;

/// Attempts to write one log file whose outcome was an error and that is not there.
const PUT_ATTEMPTS_MAX: u32 = 4;
/// Attempts to find out what became of it.
const READ_ATTEMPTS_MAX: u32 = 6;
/// Longest first pause between attempts; it doubles.
const PAUSE_MS_FIRST: u64 = 20;

/// Who holds the version that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// Our commit.
    Won,
    /// Somebody else's.
    Lost,
}

/// Makes the first line of a commit. Its random id makes the file unmistakable.
pub(crate) fn info(operation: &str, now_ms: i64, facts: impl IntoIterator<Item = (&'static str, Value)>) -> Line {
    let mut info = Map::new();
    info.insert("timestamp".to_owned(), now_ms.into());
    info.insert("operation".to_owned(), operation.into());
    info.insert("operationParameters".to_owned(), Value::Object(Map::new()));
    info.insert("engineInfo".to_owned(), concat!("hambar ", env!("CARGO_PKG_VERSION")).into());
    info.insert("hambar.commit".to_owned(), uuid::Uuid::new_v4().to_string().into());
    info.extend(facts.into_iter().map(|(key, value)| (key.to_owned(), value)));
    Line { commit_info: Some(Value::Object(info)), ..Line::default() }
}

/// Writes `lines` as `version`.
///
/// After an error the log is read: the reply may have been lost (`reliability.md` LD2), and "exists already" may
/// stand for our own write (LD3). An error is returned only when the version is not there, or cannot be read.
pub(crate) async fn put(log: &TableLog, version: u64, lines: &[Line]) -> Result<Put, StoreError> {
    let body = serialise(log, lines)?;
    let path = log.commit_path(version);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let written = log.store.put_opts(&path, PutPayload::from_bytes(body.clone()), options).await;
        let found = read_back(log, version).await;
        let error = match (written, found) {
            (_, Ok(Some(bytes))) if bytes == body => return Ok(Put::Won),
            (Ok(_), Ok(Some(_))) => {
                return Err(damaged(&log.label, format!("log file `{path}` does not hold what was written")));
            }
            (Ok(_), Ok(None)) => {
                return Err(damaged(&log.label, format!("log file `{path}` is missing right after it was written")));
            }
            (Err(error), Ok(Some(bytes))) => {
                // A short or empty file is nobody's commit: a torn write, ours or another's.
                crate::log::parse(&log.label, &path, &bytes)?;
                tracing::debug!(%error, %path, "another writer made the version");
                return Ok(Put::Lost);
            }
            (Err(error), Ok(None)) => error,
            (_, Err(unreadable)) => return Err(unreadable),
        };
        if attempt >= PUT_ATTEMPTS_MAX {
            return Err(storage("write", &path, error));
        }
        pause(attempt).await;
    }
}

async fn read_back(log: &TableLog, version: u64) -> Result<Option<Bytes>, StoreError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match log.read_commit(version).await {
            Err(error) if attempt >= READ_ATTEMPTS_MAX => return Err(error),
            Err(_) => pause(attempt).await,
            Ok(found) => return Ok(found),
        }
    }
}

/// Waits a random while that grows with `attempt`, so that competing writers drift apart.
pub(crate) async fn pause(attempt: u32) {
    let longest = PAUSE_MS_FIRST << attempt.min(7);
    tokio::time::sleep(Duration::from_millis(rand::random_range(1..=longest))).await;
}

fn serialise(log: &TableLog, lines: &[Line]) -> Result<Bytes, StoreError> {
    let mut body = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut body, line).map_err(|error| storage("write", &log.root, error))?;
        body.push(b'\n');
    }
    Ok(body.into())
}
