//! What need not be done again: which tables a statement reads, and small answers. An answer is known by its question
//! and the versions of its tables; those are looked up in the store at every request, so that nothing is ever stale.

use std::sync::Arc;

use axum::body::Bytes;
use hambar_lake::Lake;
use hambar_query::{Facts, QueryError, QueryLimits};
use http::{HeaderMap, StatusCode, header};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use ring::digest::{Context, SHA256};

use super::format::Format;
use super::once::{Once, Turn};
use crate::access::Used;
use crate::front::{Ask, Source};

/// Statements whose tables are remembered.
const STATEMENTS_MAX: usize = 10_000;
/// Longer answers are not held: clients that are slow to take them would keep their memory after they had to go.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Answers of so many bytes are expected when room is made for them.
const ENTRY_BYTES_EXPECTED: u64 = 16 * 1024;
/// Bytes that an entry costs besides its body.
const ENTRY_BYTES_OWN: u64 = 512;

/// Names a question: the statement, its values, which tables and rows exist for the asker, and the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

#[cfg(test)]
impl Key {
    /// A key for tests.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(bytes);
        finish(context)
    }
}

/// An answer that is small enough to be held.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    pub(crate) status: StatusCode,
    pub(crate) format: Format,
    pub(crate) truncated: Option<&'static str>,
    pub(crate) sources: Arc<[Source]>,
    /// Where the next page is.
    pub(crate) next: Option<String>,
    pub(crate) body: Bytes,
    /// What it counts each time it is sent.
    pub(crate) used: Used,
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<String, Arc<Whole>> for ByBytes {
    fn weight(&self, key: &String, whole: &Arc<Whole>) -> u64 {
        whole.body.len() as u64 + key.len() as u64 + ENTRY_BYTES_OWN
    }
}

/// The two caches of a server, and what it runs to fill them.
pub(crate) struct Results {
    facts: Cache<Key, Arc<Facts>>,
    answers: Option<Cache<String, Arc<Whole>, ByBytes>>,
    once: Once,
}

impl std::fmt::Debug for Results {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Results").field("statements", &self.facts.len()).finish_non_exhaustive()
    }
}

impl Results {
    /// Makes caches that hold at most `bytes_max` of answers; none for 0.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let entries = usize::try_from(bytes_max / ENTRY_BYTES_EXPECTED).unwrap_or(usize::MAX).max(1);
        let answers = (bytes_max > 0).then(|| Cache::with_weighter(entries, bytes_max, ByBytes));
        Self { facts: Cache::new(STATEMENTS_MAX), answers, once: Once::default() }
    }

    pub(crate) fn facts(&self, key: &Key) -> Option<Arc<Facts>> {
        self.facts.get(key)
    }

    pub(crate) fn remember(&self, key: Key, facts: &Facts) {
        self.facts.insert(key, Arc::new(facts.clone()));
    }

    pub(crate) fn answer(&self, tag: &str) -> Option<Arc<Whole>> {
        self.answers.as_ref()?.get(tag)
    }

    /// Holds an answer, unless it is too long, and says whether it did.
    pub(crate) fn keep(&self, tag: &str, whole: &Arc<Whole>) -> bool {
        let Some(answers) = self.answers.as_ref().filter(|_| whole.body.len() <= ANSWER_BYTES_MAX) else {
            return false;
        };
        answers.insert(tag.to_owned(), Arc::clone(whole));
        true
    }

    /// Says who runs a question that no answer is held for; everybody does where none are held at all.
    pub(crate) fn turn(&self, key: Key, format: Format) -> Option<Turn> {
        self.answers.as_ref().map(|_| self.once.turn(key, format))
    }
}

/// Returns the key of a question. `variant` tells apart what is made of the same rows in different ways.
///
/// # Errors
/// Where the values cannot be written down; the query worker could not be asked either.
pub(crate) fn key(ask: &Ask, ceiling: &QueryLimits, variant: &str) -> Result<Key, QueryError> {
    let failed = |error: arrow::error::ArrowError| QueryError::Worker { step: "ask", cause: error.to_string() };
    let parameters = ask.parameters.to_ipc().map_err(failed)?;
    let mut context = Context::new(&SHA256);
    let mut add = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_le_bytes());
        context.update(bytes);
    };
    add(ask.sql.as_bytes());
    add(&parameters);
    add(format!("{:?}", ask.principal.visibility()).as_bytes());
    // Those that hold, so that an answer that was cut off is not the answer of a server that allows more.
    add(format!("{:?}", ask.limits.within(ceiling)).as_bytes());
    add(variant.as_bytes());
    Ok(finish(context))
}

/// Returns the entity tag of an answer. It is a weak one: rows without an order may come in another order. What is said
/// of the sources is a part of the answer.
pub(crate) fn tag(key: Key, facts: &Facts, format: Format, sources: &[Source]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(&key.0);
    context.update(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes());
    context.update(format.ending().as_bytes());
    let mut versions = facts.versions.clone();
    versions.sort();
    for read in &versions {
        context.update(format!("\0{}@{}", read.table, read.version).as_bytes());
    }
    context.update(format!("{sources:?}").as_bytes());
    let Key(digest) = finish(context);
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{hex}\"")
}

fn finish(context: Context) -> Key {
    let digest = context.finish();
    let mut key = [0; 32];
    for (target, byte) in key.iter_mut().zip(digest.as_ref()) {
        *target = *byte;
    }
    Key(key)
}

/// Returns the facts with the versions that a query would read now.
pub(crate) async fn newest(lake: &Lake, facts: &Facts) -> Result<Facts, QueryError> {
    let mut newest = facts.clone();
    for read in newest.versions.iter_mut().filter(|read| !read.is_pinned) {
        read.version = lake.newest_version(&read.table, read.version).await?;
    }
    Ok(newest)
}

/// Says whether the client has the answer with this tag.
pub(crate) fn has(headers: &HeaderMap, tag: &str) -> bool {
    let bare = tag.trim_start_matches("W/");
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).any(|value| {
        let value = value.trim();
        value == "*" || value.trim_start_matches("W/") == bare
    })
}
