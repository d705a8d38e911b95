//! A loopback HTTP server that misbehaves on purpose: it never answers, trickles, cuts connections, lies about lengths
//! and ranges, redirects in circles. Answers are written byte by byte to the socket, so nothing repairs them on the way,
//! and every request is logged, so that a test can prove what was asked.
//!
//! A route answers its requests with its [`Answer`]s in order; the last one again and again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

mod wire;

use wire::{After, read_request, send};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When, since the server started.
    pub at: Duration,
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Asked {
    /// Returns a header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// How a connection ends in the middle of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Closed in order, too early.
    Fin,
    /// Reset.
    Rst,
}

/// What a server does with `Range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranges {
    /// 206 with the bytes asked for, if `If-Range` holds.
    Honoured,
    /// 200 with everything.
    Ignored,
    /// 206 with bytes from another place, and a header that says so.
    WrongPlace,
    /// 206 whose header names another total.
    WrongTotal,
    /// 416 to every range.
    Refused,
}

/// How a body's end is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// `Content-Length`, true.
    Length,
    /// `Content-Length`, whatever was asked for.
    FalseLength(u64),
    /// `Transfer-Encoding: chunked` with a last chunk.
    Chunked,
    /// Chunks without end, the body again and again.
    Endless,
    /// Neither: the end of the connection is the end of the body.
    Close,
}

/// One scripted answer.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    framing: Framing,
    /// Per thousand of the body after which the connection ends.
    cut: Option<(u64, Cut)>,
    /// Bytes that go out at once, and the pause between.
    trickle: Option<(usize, Duration)>,
    header_trickle: Option<Duration>,
    silent: bool,
    ranges: Ranges,
    not_modified: bool,
    raw: Option<Bytes>,
}

impl Answer {
    /// 200 with this body and its length.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: body.into(),
            framing: Framing::Length,
            cut: None,
            trickle: None,
            header_trickle: None,
            silent: false,
            ranges: Ranges::Ignored,
            not_modified: false,
            raw: None,
        }
    }

    /// This status and body.
    pub fn status(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, ..Self::ok(body) }
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::status(status, "").header("location", location)
    }

    /// Reads the request and never answers.
    pub fn silent() -> Self {
        Self { silent: true, ..Self::ok("") }
    }

    /// These bytes instead of an HTTP answer, then the end of the connection.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self { raw: Some(bytes.into()), ..Self::ok("") }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Announces this length, whatever the body has.
    #[must_use]
    pub fn announce(mut self, length: u64) -> Self {
        self.framing = Framing::FalseLength(length);
        self
    }

    /// Sends chunks and a last chunk instead of a length.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    /// Sends the body again and again as chunks, without end.
    #[must_use]
    pub fn endless(mut self) -> Self {
        self.framing = Framing::Endless;
        self
    }

    /// Announces nothing; the end of the connection ends the body.
    #[must_use]
    pub fn until_close(mut self) -> Self {
        self.framing = Framing::Close;
        self
    }

    /// Ends the connection after `percent` of the body.
    #[must_use]
    pub fn cut_at(mut self, percent: u64, cut: Cut) -> Self {
        self.cut = Some((percent, cut));
        self
    }

    /// Sends `bytes` at once and pauses between.
    #[must_use]
    pub fn trickle(mut self, bytes: usize, pause: Duration) -> Self {
        self.trickle = Some((bytes.max(1), pause));
        self
    }

    /// Sends the head byte by byte with a pause between.
    #[must_use]
    pub fn trickle_head(mut self, pause: Duration) -> Self {
        self.header_trickle = Some(pause);
        self
    }

    /// Sets what is done with `Range`; without this, it is ignored.
    #[must_use]
    pub fn ranges(mut self, ranges: Ranges) -> Self {
        self.ranges = ranges;
        self
    }

    /// Answers 304 when `If-None-Match` or `If-Modified-Since` names this answer's `etag` or `last-modified` header.
    #[must_use]
    pub fn conditional(mut self) -> Self {
        self.not_modified = true;
        self
    }

    fn own_header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A path with its answers. A query is matched only where the route's target has one.
#[derive(Debug, Clone)]
pub struct Route {
    target: String,
    answers: Vec<Answer>,
}

impl Route {
    /// Answers requests to `target` in this order; the last answer repeats.
    pub fn new(target: &str, answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { target: target.to_owned(), answers: answers.into_iter().collect() }
    }

    fn matches(&self, target: &str) -> bool {
        let path = target.split('?').next().unwrap_or(target);
        if self.target.contains('?') { self.target == target } else { self.target == path }
    }
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct EvilHttp {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    routes: Mutex<Vec<(Route, usize)>>,
    asked: Mutex<Vec<Asked>>,
    connections: Mutex<u64>,
    /// Requests being answered now, and the most there ever were.
    busy: Mutex<(u64, u64)>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EvilHttp {
    /// Listens on a free loopback port.
    ///
    /// # Panics
    /// When no loopback port can be had: a test cannot go on without one.
    pub async fn start(routes: impl IntoIterator<Item = Route>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let routes = routes.into_iter().map(|route| (route, 0)).collect();
        let shared = Arc::new(Shared {
            started: Instant::now(),
            routes: Mutex::new(routes),
            asked: Mutex::new(Vec::new()),
            connections: Mutex::new(0),
            busy: Mutex::new((0, 0)),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// Returns where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of a target on this server, by address.
    pub fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// Returns the URL of a target on this server by the name `localhost`, which is another origin.
    pub fn url_by_name(&self, target: &str) -> String {
        format!("http://localhost:{}{target}", self.address.port())
    }

    /// Replaces a route's answers, or adds the route; its answers begin at the first.
    pub fn set(&self, route: Route) {
        let mut routes = lock(&self.shared.routes);
        routes.retain(|(there, _)| there.target != route.target);
        routes.push((route, 0));
    }

    /// Returns all requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }

    /// Returns the most requests that were being answered at once.
    pub fn busiest(&self) -> u64 {
        lock(&self.shared.busy).1
    }

    /// Returns how many connections were accepted.
    pub fn connections(&self) -> u64 {
        *lock(&self.shared.connections)
    }
}

impl Drop for EvilHttp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                *lock(&shared.connections) += 1;
                connections.spawn(serve(stream, Arc::clone(&shared)));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut pending = Vec::new();
    while let Some(asked) = read_request(&mut stream, &mut pending, shared.started).await {
        lock(&shared.asked).push(asked.clone());
        let answer = next_answer(&shared, &asked.target);
        {
            let mut busy = lock(&shared.busy);
            busy.0 += 1;
            busy.1 = busy.1.max(busy.0);
        }
        let outcome = send(&mut stream, &asked, &answer).await;
        lock(&shared.busy).0 -= 1;
        match outcome {
            Ok(After::Open) => {}
            Ok(After::Closed) | Err(_) => return,
        }
    }
}

fn next_answer(shared: &Shared, target: &str) -> Answer {
    let mut routes = lock(&shared.routes);
    let Some((route, count)) = routes.iter_mut().find(|(route, _)| route.matches(target)) else {
        return Answer::status(404, "no such route");
    };
    let answer = route.answers.get(*count).or(route.answers.last()).cloned();
    *count += 1;
    answer.unwrap_or_else(|| Answer::status(404, "a route without answers"))
}
