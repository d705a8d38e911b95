//! Peers of the Flight port that keep to nothing: garbage, floods of HTTP/2 frames, huge and unfinished messages, clients that
//! stop reading, a thousand that say nothing. After each of them the next query is answered.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightDescriptor, Ticket};
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use super::super::Served;
use super::super::abuse::resident;
use super::{Client, MANY_ROWS, served, status};

/// How HTTP/2 begins: the preface and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// What one flood sends as its piece of this number.
type Piece = Box<dyn Fn(usize) -> Vec<u8>>;

fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(content.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(content);
    bytes
}

/// A header as HPACK has it without tables.
fn header(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// The head of a call.
fn head(call: &str, token: &str) -> Vec<u8> {
    let path = format!("/arrow.flight.protocol.FlightService/{call}");
    [
        vec![0x83, 0x86],
        header(":path", &path),
        header(":authority", "test"),
        header("content-type", "application/grpc"),
        header("te", "trailers"),
        header("authorization", &format!("Bearer {token}")),
    ]
    .concat()
}

fn connect(served: &Served) -> TcpStream {
    let stream = TcpStream::connect(served.flight()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Expects that the server answers at once and has not grown by more than so many MiB.
#[track_caller]
fn is_well(served: &Served, before: u64, more: u64) {
    let since = Instant::now();
    let mut client = Client::new(served, &served.token);
    assert_eq!(client.number("SELECT count(*) FROM demo.figures"), super::ROWS as i64);
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    let now = resident(served.pid());
    assert!(now < before + (more << 20), "{before} {now}");
}

#[test]
fn garbage_and_floods_end_only_their_own_connection() {
    let served = served("[server.connections]\nhead_seconds_max = 3\n");
    let before = resident(served.pid());
    let garbage: [&[u8]; 8] = [
        b"\0\0\0\0\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x05\x04\0\0\0\0\0abcde",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x04\x01\x04\0\0\0\x01\xff\xff\xff\xff",
        b"PRI * HTTP/1.0\r\n\r\n",
        &[0xff; 4096],
    ];
    for bytes in garbage {
        let mut stream = connect(&served);
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
    // Each flood would be 64 MiB, or 100,000 frames, if anybody listened for so long.
    let long = vec![b'x'; 16_000];
    let opened = frame(HEADERS, 0, 1, &head("GetFlightInfo", &served.token));
    let reset = |number: usize| {
        let stream = u32::try_from(number * 2 + 1).unwrap();
        [frame(HEADERS, END_HEADERS, stream, &head("GetFlightInfo", "x")), frame(RESET, 0, stream, &[0, 0, 0, 8])]
            .concat()
    };
    let floods: [(&str, Vec<u8>, Piece); 4] = [
        ("continuation", opened, Box::new(move |_| frame(CONTINUATION, 0, 1, &long))),
        ("reset", Vec::new(), Box::new(reset)),
        ("ping", Vec::new(), Box::new(|_| frame(PING, 0, 0, &[0; 8]))),
        ("settings", Vec::new(), Box::new(|_| frame(SETTINGS, 0, 0, &[]))),
    ];
    for (what, opening, piece) in floods {
        let mut stream = connect(&served);
        // Nobody reads what the server answers: what it keeps of that must be bounded as well.
        stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(&[PREFACE, &opening].concat()).unwrap();
        let mut sent = 0;
        for number in 0..100_000 {
            if sent > 64 << 20 || stream.write_all(&piece(number)).is_err() {
                break;
            }
            sent += piece(number).len();
        }
        drop(stream);
        println!("{what}: {sent} bytes were taken");
        is_well(&served, before, 100);
    }
}

#[test]
fn large_and_unfinished_messages_cost_little() {
    let served = served("[server.connections]\nbody_seconds_max = 4\n");
    let mut client = Client::new(&served, &served.token);
    assert_eq!(client.number("SELECT 1"), 1);
    let before = resident(served.pid());
    let endpoint = Endpoint::from_shared(format!("http://{}", served.flight())).unwrap();
    client.runtime.block_on(async {
        let mut raw = FlightServiceClient::new(endpoint.connect().await.unwrap());
        let bearer: tonic::metadata::MetadataValue<_> = format!("Bearer {}", served.token).parse().unwrap();
        let huge = vec![b'x'; 64 << 20];
        let mut question = Request::new(FlightDescriptor::new_cmd(huge.clone()));
        question.metadata_mut().insert("authorization", bearer.clone());
        let error = raw.get_flight_info(question).await.unwrap_err();
        assert!(matches!(error.code(), Code::OutOfRange | Code::ResourceExhausted), "{error:?}");
        let mut ticket = Request::new(Ticket::new(huge));
        ticket.metadata_mut().insert("authorization", bearer);
        let error = raw.do_get(ticket).await.unwrap_err();
        assert!(matches!(error.code(), Code::OutOfRange | Code::ResourceExhausted), "{error:?}");
    });
    let long = format!("SELECT 1 -- {}", "x".repeat(1 << 20));
    assert_eq!(client.ask(&long).unwrap_err().code(), Code::ResourceExhausted);
    // Values of many rows and of many bytes.
    let values = |rows: usize, bytes: usize| {
        let text = "x".repeat(bytes);
        let column: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|_| text.as_str())));
        RecordBatch::try_from_iter([("a", column)]).unwrap()
    };
    for (rows, bytes, code) in [(1_000_000, 1, Code::ResourceExhausted), (1, 2 << 20, Code::ResourceExhausted)] {
        let Client { runtime, sql } = &mut client;
        runtime.block_on(async {
            let mut prepared = sql.prepare("SELECT ?".to_owned(), None).await.unwrap();
            prepared.set_parameters(values(rows, bytes)).unwrap();
            assert_eq!(status(prepared.execute().await.unwrap_err()).code(), code, "{rows} {bytes}");
        });
    }
    is_well(&served, before, 64);
    // Messages that claim three MiB and never come to their end.
    let begun: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = connect(&served);
            let data = [vec![0, 0, 48, 0, 0], vec![b'x'; 16_000]].concat();
            let mut bytes = PREFACE.to_vec();
            bytes.extend(frame(HEADERS, END_HEADERS, 1, &head("GetFlightInfo", &served.token)));
            (0..3).for_each(|_| bytes.extend(frame(0, 0, 1, &data)));
            stream.write_all(&bytes).unwrap();
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_secs(1));
    is_well(&served, before, 100);
    drop(begun);
    served.becomes_idle();
}

#[test]
fn a_client_that_stops_reading_is_cut_off() {
    let served = served("[server.queries]\nreader_seconds_max = 2\n[server.connections]\nwrite_seconds_max = 2\n");
    let mut client = Client::new(&served, &served.token);
    let info = client.info(MANY_ROWS).unwrap();
    let before = resident(served.pid());
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut own = client.sql_again(&served);
        streams.push(client.runtime.block_on(own.do_get(ticket.clone())).unwrap());
    }
    std::thread::sleep(Duration::from_secs(1));
    assert!(resident(served.pid()) < before + (64 << 20), "{before} {}", resident(served.pid()));
    std::thread::sleep(Duration::from_secs(4));
    served.becomes_idle();
    for stream in streams {
        use futures::TryStreamExt;
        let ended = client.runtime.block_on(stream.try_collect::<Vec<RecordBatch>>());
        assert!(ended.is_err());
    }
    // Whoever reads slowly, and reads, gets everything.
    let slow = "SELECT value, repeat('x', 100) AS text FROM generate_series(1, 50000)";
    let info = client.info(slow).unwrap();
    let rows = client.runtime.block_on(async {
        use futures::TryStreamExt;
        let mut stream = client.sql.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
        let mut rows = 0;
        while let Some(batch) = stream.try_next().await.unwrap() {
            rows += batch.num_rows();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        rows
    });
    assert_eq!(rows, 50_000);
}

#[test]
fn a_thousand_idle_connections_slow_nobody_down() {
    let served = served("[server.connections]\nhead_seconds_max = 3\nconnections_per_address_max = 1200\n");
    let before = resident(served.pid());
    let idle: Vec<TcpStream> = (0..1_000)
        .filter_map(|number| {
            let mut stream = TcpStream::connect(served.flight()).ok()?;
            if number % 2 == 0 {
                stream.write_all(PREFACE).ok()?;
            }
            Some(stream)
        })
        .collect();
    assert!(idle.len() > 900, "{}", idle.len());
    is_well(&served, before, 100);
    // Who says nothing, or nothing more, is let go.
    for mut stream in idle.into_iter().take(4) {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.is_ok(), "{ended:?}");
    }
}
