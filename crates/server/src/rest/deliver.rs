//! From an answer to an HTTP response: whole where it is small, else a stream that breaks off visibly when the query
//! does.

use std::io;
use std::sync::Arc;

use arrow::array::RecordBatch;
use axum::body::{Body, Bytes};
use axum::response::Response;
use futures::{Stream, StreamExt};
use hambar_core::Chain;
use hambar_query::QueryLimits;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::io::AsyncReadExt;

use super::body::{self, PIECE_BYTES};
use super::cache::Whole;
use super::encode::{EncodeError, Encoder, Head, Rest, Tail, terms_of};
use super::format::Format;
use super::problem::{self, Problem};
use crate::access::Used;
use crate::front::{Answer, AskedLimits, FrontError, Source};

/// An answer of at most so many bytes is sent whole, with its length and with everything known about it.
const WHOLE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the header that names the sources; where they are more, it names the tables only.
const SOURCES_BYTES_MAX: usize = 4 * 1024;

/// What was reached where rows are missing.
pub(crate) const LIMIT: &str = "rows or bytes";

pub(crate) const QUERY: HeaderName = HeaderName::from_static("hambar-query");
pub(crate) const TRUNCATED: HeaderName = HeaderName::from_static("hambar-truncated");
const SOURCES: HeaderName = HeaderName::from_static("hambar-sources");
/// What the licences of the sources ask of whoever passes the answer on.
const TERMS: HeaderName = HeaderName::from_static("hambar-terms");

/// An answer ready to be sent.
pub(crate) enum Delivery {
    /// Complete, with the query whose turn it keeps until it was sent.
    Whole(Arc<Whole>, Box<Answer>),
    /// On its way, or a file.
    Stream(Response),
}

/// The limits of a result that the client set himself, and therefore need not be told that they were reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnLimits {
    rows: Option<u64>,
    has_bytes: bool,
    server_rows: Option<u64>,
}

impl OwnLimits {
    /// The limits of a request that are no looser than the server's.
    pub(crate) fn of(asked: &AskedLimits, ceiling: &QueryLimits) -> Self {
        let is_own = |rows: &u64| ceiling.result_rows_max.is_none_or(|limit| *rows <= limit);
        Self {
            rows: asked.result_rows_max.filter(is_own),
            has_bytes: asked.result_bytes_max.is_some_and(|bytes| bytes <= ceiling.result_bytes_max),
            server_rows: ceiling.result_rows_max,
        }
    }

    /// Says whether it was one of them that cut an answer off after `rows`.
    pub(crate) fn explain(self, rows: u64) -> bool {
        self.rows == Some(rows) || self.has_bytes && self.server_rows != Some(rows)
    }
}

/// Puts an answer into its form.
pub(crate) async fn deliver(mut answer: Answer, format: Format, own: OwnLimits) -> Result<Delivery, Problem> {
    answer.hold();
    let sources: Arc<[Source]> = answer.sources().into();
    let head = Head { query: answer.id().to_string(), schema: answer.schema(), sources: sources.to_vec() };
    let mut encoder = Encoder::new(format, &head).map_err(|error| not_encoded(&error))?;
    let mut body = Vec::new();
    while body.len() <= WHOLE_BYTES_MAX {
        let Some(batch) = answer.next().await else {
            let truncated = answer.is_truncated().then_some(LIMIT);
            return whole(encoder, truncated, format, body, sources, answer).await;
        };
        // Nothing is sent yet, so that an error still gets its status.
        let (next, bytes) =
            encode(encoder, batch.map_err(|error| Problem::new(&error))?).await.map_err(|error| not_encoded(&error))?;
        encoder = next;
        body.extend_from_slice(&bytes);
    }
    let mut response = Response::new(Body::from_stream(stream(encoder, answer, format, body, own)));
    about(response.headers_mut(), format, &sources);
    Ok(Delivery::Stream(response))
}

async fn whole(
    encoder: Encoder,
    truncated: Option<&'static str>,
    format: Format,
    mut body: Vec<u8>,
    sources: Arc<[Source]>,
    answer: Answer,
) -> Result<Delivery, Problem> {
    let tail = Tail { truncated, next: None };
    let finished = {
        let tail = tail.clone();
        blocking(move || encoder.finish(&tail)).await
    };
    let rest = match finished.map_err(|error| not_encoded(&error))? {
        Rest::Bytes(rest) => {
            body.extend_from_slice(&rest);
            Rest::Bytes(body)
        }
        file => file,
    };
    pack(rest, format, sources, tail, answer)
}

/// Makes an answer that is complete ready to be sent.
pub(crate) fn pack(
    rest: Rest,
    format: Format,
    sources: Arc<[Source]>,
    tail: Tail,
    answer: Answer,
) -> Result<Delivery, Problem> {
    let mut whole = unfilled(format, sources, tail);
    whole.used = answer.used();
    match rest {
        Rest::Bytes(body) => {
            whole.body = Bytes::from(body);
            Ok(Delivery::Whole(Arc::new(whole), Box::new(answer)))
        }
        Rest::File(file) => file_response(&whole, file, answer).map(Delivery::Stream),
    }
}

/// The response of a page of an answer that is kept. `guard` is dropped once it was sent.
pub(crate) fn page_response(
    rest: Rest,
    format: Format,
    sources: Arc<[Source]>,
    tail: Tail,
    guard: impl Send + Unpin + 'static,
) -> Result<Response, Problem> {
    let mut whole = unfilled(format, sources, tail);
    match rest {
        Rest::Bytes(body) => {
            whole.body = Bytes::from(body);
            Ok(whole_response(&whole, guard))
        }
        Rest::File(file) => file_response(&whole, file, guard),
    }
}

fn unfilled(format: Format, sources: Arc<[Source]>, tail: Tail) -> Whole {
    let Tail { truncated, next } = tail;
    let (status, body, used) = (status(format, truncated), Bytes::new(), Used::default());
    Whole { status, format, truncated, sources, next, body, used }
}

fn file_response(whole: &Whole, file: std::fs::File, guard: impl Send + 'static) -> Result<Response, Problem> {
    let length = file.metadata().map(|meta| meta.len()).map_err(|error| not_encoded(&error.into()))?;
    let mut response = whole_response(whole, ());
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    *response.body_mut() = Body::from_stream(pieces_of(tokio::fs::File::from_std(file), guard));
    Ok(response)
}

/// A form that cannot say itself that rows are missing says so by its status.
pub(crate) fn status(format: Format, truncated: Option<&'static str>) -> StatusCode {
    match (format, truncated) {
        (Format::Csv | Format::Arrow, Some(_)) => StatusCode::PARTIAL_CONTENT,
        _ => StatusCode::OK,
    }
}

/// The response of a whole answer. `guard` is dropped once it was sent.
pub(crate) fn whole_response(whole: &Whole, guard: impl Send + Unpin + 'static) -> Response {
    let mut response = Response::new(body::pieces(whole.body.clone(), guard));
    *response.status_mut() = whole.status;
    about(response.headers_mut(), whole.format, &whole.sources);
    if let Some(truncated) = whole.truncated {
        response.headers_mut().insert(TRUNCATED, HeaderValue::from_static(truncated));
    }
    let next = whole.next.as_ref().and_then(|next| HeaderValue::from_str(&format!("<{next}>; rel=\"next\"")).ok());
    if let Some(next) = next {
        response.headers_mut().append(header::LINK, next);
    }
    response
}

/// What a client should know of every answer: its form, whom to name, and on which terms.
pub(crate) fn about(headers: &mut HeaderMap, format: Format, sources: &[Source]) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    headers.insert(header::VARY, HeaderValue::from_static("accept, authorization, cookie"));
    if format.is_file() {
        let name = format!("attachment; filename=\"hambar.{}\"", format.ending());
        if let Ok(name) = HeaderValue::from_str(&name) {
            headers.insert(header::CONTENT_DISPOSITION, name);
        }
    }
    if sources.is_empty() {
        return;
    }
    let full = serde_json::to_string(sources).unwrap_or_default();
    let text = if full.len() > SOURCES_BYTES_MAX { tables_only(sources) } else { full };
    // Headers are ASCII: everything else is escaped as JSON does it.
    if let Ok(value) = HeaderValue::from_str(&escaped(&text)) {
        headers.insert(SOURCES, value);
    }
    let said = escaped(&terms_of(sources));
    if said.len() <= SOURCES_BYTES_MAX
        && let Ok(value) = HeaderValue::from_str(&said)
    {
        headers.insert(TERMS, value);
    }
    for licence in licences(sources) {
        if let Ok(value) = HeaderValue::from_str(&format!("<{licence}>; rel=\"license\"")) {
            headers.append(header::LINK, value);
        }
    }
}

fn tables_only(sources: &[Source]) -> String {
    let tables: Vec<String> = sources.iter().map(|source| format!("{}@{}", source.table, source.version)).collect();
    let mut text = serde_json::to_string(&tables).unwrap_or_default();
    if text.len() > SOURCES_BYTES_MAX {
        text = format!("\"{} tables; the body names them\"", tables.len());
    }
    text
}

/// The pages of the licences, each once.
fn licences(sources: &[Source]) -> Vec<String> {
    let mut pages: Vec<String> = sources
        .iter()
        .filter_map(|source| {
            let licence = source.licence.as_deref()?;
            match licence.starts_with("LicenseRef-") {
                true => source.landing_page.clone(),
                false => Some(format!("https://spdx.org/licenses/{licence}.html")),
            }
        })
        .collect();
    pages.sort();
    pages.dedup();
    pages
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// Where a stream stands.
struct Sending {
    encoder: Option<Encoder>,
    answer: Answer,
    format: Format,
    own: OwnLimits,
    ready: Bytes,
}

fn stream(
    encoder: Encoder,
    answer: Answer,
    format: Format,
    ready: Vec<u8>,
    own: OwnLimits,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let state = Sending { encoder: Some(encoder), answer, format, own, ready: Bytes::from(ready) };
    futures::stream::try_unfold(state, |mut state| async move {
        while state.ready.is_empty() {
            if !state.advance().await? {
                return Ok(None);
            }
        }
        let length = state.ready.len().min(PIECE_BYTES);
        let piece = state.ready.split_to(length);
        Ok(Some((piece, state)))
    })
}

impl Sending {
    /// Makes more bytes ready; says whether there may be more. An error ends the connection, so that nobody takes what
    /// came for everything.
    async fn advance(&mut self) -> io::Result<bool> {
        let Some(encoder) = self.encoder.take() else { return Ok(false) };
        match self.answer.next().await {
            Some(Ok(batch)) => {
                let (encoder, bytes) = encode(encoder, batch).await.map_err(io::Error::other)?;
                self.encoder = Some(encoder);
                self.ready = Bytes::from(bytes);
            }
            Some(Err(error)) => {
                problem::note(&error);
                return Err(io::Error::other(Chain(&error).to_string()));
            }
            None => {
                let truncated = self.answer.is_truncated().then_some(LIMIT);
                if status(self.format, truncated) != StatusCode::OK && !self.own.explain(self.answer.rows()) {
                    return Err(io::Error::other("the limit of rows or bytes was reached"));
                }
                let tail = Tail { truncated, next: None };
                let rest = blocking(move || encoder.finish(&tail)).await.map_err(io::Error::other)?;
                let Rest::Bytes(bytes) = rest else {
                    return Err(io::Error::other("a file came at the end of a stream"));
                };
                self.ready = Bytes::from(bytes);
            }
        }
        Ok(true)
    }
}

fn pieces_of(
    file: tokio::fs::File,
    guard: impl Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    futures::stream::try_unfold((file, guard), |(mut file, guard)| async move {
        let mut piece = vec![0; PIECE_BYTES];
        let length = file.read(&mut piece).await?;
        piece.truncate(length);
        Ok((length > 0).then_some((Bytes::from(piece), (file, guard))))
    })
}

async fn encode(mut encoder: Encoder, batch: RecordBatch) -> Result<(Encoder, Vec<u8>), EncodeError> {
    blocking(move || encoder.batch(&batch).map(|bytes| (encoder, bytes))).await
}

/// Encoding takes milliseconds, which other connections should not wait for.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EncodeError> + Send + 'static,
) -> Result<T, EncodeError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| EncodeError::Io(io::Error::other(error)))?
}

/// Encodes a few batches that are there already.
pub(crate) async fn encode_all(
    format: Format,
    head: Head,
    batches: Vec<RecordBatch>,
    tail: Tail,
) -> Result<Rest, Problem> {
    let work = move || {
        let mut encoder = Encoder::new(format, &head)?;
        let mut body = Vec::new();
        for batch in &batches {
            body.extend_from_slice(&encoder.batch(batch)?);
        }
        Ok(match encoder.finish(&tail)? {
            Rest::Bytes(rest) => {
                body.extend_from_slice(&rest);
                Rest::Bytes(body)
            }
            file => file,
        })
    };
    blocking(work).await.map_err(|error| not_encoded(&error))
}

fn not_encoded(error: &EncodeError) -> Problem {
    use std::error::Error as _;
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    Problem::new(&FrontError::Query(hambar_query::QueryError::Execute {
        class: hambar_core::ErrorClass::Data,
        message: format!("{error}{cause}"),
    }))
}
