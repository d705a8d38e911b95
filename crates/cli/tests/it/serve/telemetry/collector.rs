//! Something that listens where a collector of traces should be: one that takes them, or one of those that do not.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// Spans must be there within this time.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It takes everything.
    Takes,
    /// It takes nothing of the first message, and asks for it again at once.
    Hesitates,
    /// It takes all spans but one of each message.
    Picks,
    /// It never answers.
    Sleeps,
    /// It answers with something else.
    Babbles,
    /// It does not even speak HTTP.
    Mumbles,
    /// It sends everybody to another address.
    Redirects(SocketAddr),
}

/// A message that came.
#[derive(Debug, Clone)]
pub(super) struct Came {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

/// The listener, and what has come to it.
pub(super) struct Collector {
    pub(super) address: SocketAddr,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Collector {
    pub(super) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let came = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&came);
        // Ends with the process of the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || answer(stream, manner, &kept));
            }
        });
        Self { address, came }
    }

    /// The settings that send traces here, soon.
    pub(super) fn settings(&self) -> String {
        let (address, soon) = (self.address, "every_seconds = 0.1\ntimeout_seconds = 0.5\n");
        format!("[telemetry]\nendpoint = \"http://{address}/v1/traces?key=hidden\"\n{soon}")
    }

    /// What has come so far.
    pub(super) fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }

    /// The spans that have come so far, each with what is said of its process.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        for came in self.came() {
            let message = ExportTraceServiceRequest::decode(came.body.as_slice()).unwrap();
            for process in message.resource_spans {
                let of = attributes(&process.resource.unwrap().attributes);
                for scope in process.scope_spans {
                    assert_eq!(scope.scope.unwrap().name, "hambar");
                    seen.extend(scope.spans.into_iter().map(|span| Seen::new(span, of.clone())));
                }
            }
        }
        seen
    }

    /// Waits for the trace of a request: all spans of it, once the request's own is there.
    #[track_caller]
    pub(super) fn trace(&self, wanted: impl Fn(&Seen) -> bool) -> Tree {
        let since = Instant::now();
        loop {
            let mut seen = self.seen();
            if seen.iter().any(&wanted) {
                // What was sent with it may be in the next message.
                std::thread::sleep(Duration::from_millis(300));
                seen = self.seen();
            }
            let roots: Vec<&Seen> = seen.iter().filter(|span| wanted(span)).collect();
            if let [root] = roots.as_slice() {
                let spans = seen.iter().filter(|span| span.trace == root.trace).cloned().collect();
                return Tree { root: (*root).clone(), spans };
            }
            let names: Vec<_> = seen.iter().map(|span| &span.name).collect();
            assert!(roots.is_empty() && since.elapsed() < WAIT_MAX, "{} are wanted of {names:?}", roots.len());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn answer(mut stream: TcpStream, manner: Manner, came: &Mutex<Vec<Came>>) {
    let Some(message) = read(&mut stream) else { return };
    let number = {
        let mut came = came.lock().unwrap();
        came.push(message);
        came.len()
    };
    let rejected = ExportTracePartialSuccess { rejected_spans: 1, error_message: "one too many\n".to_owned() };
    let picked = ExportTraceServiceResponse { partial_success: Some(rejected) }.encode_to_vec();
    let (head, body): (String, &[u8]) = match manner {
        Manner::Takes => ("200 OK\r\ncontent-type: application/x-protobuf".to_owned(), b""),
        Manner::Hesitates if number == 1 => ("503 Service Unavailable\r\nretry-after: 0".to_owned(), b""),
        Manner::Hesitates => ("200 OK".to_owned(), b""),
        Manner::Picks => ("200 OK".to_owned(), &picked),
        Manner::Sleeps => return std::thread::sleep(WAIT_MAX),
        Manner::Babbles => ("200 OK\r\ncontent-type: text/html".to_owned(), b"<h1>It works!</h1>"),
        Manner::Mumbles => {
            let _ = stream.write_all(&[0xff; 4096]);
            return;
        }
        Manner::Redirects(address) => (format!("307 Temporary Redirect\r\nlocation: http://{address}/"), b""),
    };
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

/// Reads a request with its body.
fn read(stream: &mut TcpStream) -> Option<Came> {
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let mut lengths =
                head.lines().filter_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let length: usize = lengths.next_back().unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                return Some(Came { head, body: bytes[end + 4..end + 4 + length].to_vec() });
            }
        }
        match stream.read(&mut piece) {
            Ok(length) if length > 0 => bytes.extend_from_slice(&piece[..length]),
            _ => return None,
        }
    }
}

/// A span as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) trace: String,
    pub(super) id: String,
    pub(super) parent: String,
    pub(super) state: String,
    pub(super) kind: i32,
    pub(super) flags: u32,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) has_failed: bool,
    pub(super) attributes: BTreeMap<String, String>,
    /// What is said of the process.
    pub(super) process: BTreeMap<String, String>,
}

impl Seen {
    fn new(span: Span, process: BTreeMap<String, String>) -> Self {
        Self {
            name: span.name,
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            state: span.trace_state,
            kind: span.kind,
            flags: span.flags,
            from: span.start_time_unix_nano,
            to: span.end_time_unix_nano,
            has_failed: span.status.unwrap().code == 2,
            attributes: attributes(&span.attributes),
            process,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.attributes.get(key).map(String::as_str)
    }

    #[track_caller]
    pub(super) fn says(&self, expected: &[(&str, &str)]) {
        for (key, text) in expected {
            assert_eq!(self.get(key), Some(*text), "{key} of {self:?}");
        }
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => panic!("{other:?}"),
    };
    let all: BTreeMap<String, String> = pairs.iter().map(|pair| (pair.key.clone(), text(pair))).collect();
    assert_eq!(all.len(), pairs.len(), "an attribute is there twice: {pairs:?}");
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The spans of a trace.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Seen,
    pub(super) spans: Vec<Seen>,
}

impl Tree {
    /// The only child of this name.
    #[track_caller]
    pub(super) fn child(&self, parent: &Seen, name: &str) -> &Seen {
        let found: Vec<&Seen> = self.children(parent).into_iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name} below {}: {self:#?}", parent.name);
        found[0]
    }

    fn children(&self, parent: &Seen) -> Vec<&Seen> {
        self.spans.iter().filter(|span| span.parent == parent.id).collect()
    }

    /// Expects that every span but the root has its parent here, and lies within its time.
    #[track_caller]
    pub(super) fn is_whole(&self) {
        for span in self.spans.iter().filter(|span| span.id != self.root.id) {
            let parents: Vec<&Seen> = self.spans.iter().filter(|parent| parent.id == span.parent).collect();
            assert_eq!(parents.len(), 1, "{span:?} in {self:#?}");
            let parent = parents[0];
            let is_inside = parent.from <= span.from && span.from <= span.to && span.to <= parent.to;
            assert!(is_inside, "{span:?}\nis not inside\n{parent:?}");
        }
    }

    /// Expects the spans of a query that was run, below `parent`; returns its own.
    #[track_caller]
    pub(super) fn ran(&self, parent: &Seen) -> &Seen {
        let query = self.child(parent, "query");
        let steps = ["queue", "plan", "execute", "deliver"].map(|name| self.child(query, name));
        for pair in steps.windows(2) {
            assert!(pair[0].from <= pair[1].from, "{pair:#?}");
        }
        let [_, plan, execute, _] = steps;
        assert!(plan.to <= execute.from && execute.from < execute.to && plan.from < plan.to, "{plan:?} {execute:?}");
        let busy: u64 = execute.get("hambar.worker.busy_us").unwrap().parse().unwrap();
        assert!(busy * 1_000 <= execute.to - execute.from, "{execute:?}");
        query
    }
}
