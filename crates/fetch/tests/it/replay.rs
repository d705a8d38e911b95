//! Recordings: made ones, and the real ones of `../shared/data`, as a transport and as a server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hambar_core::Validators;
use hambar_fetch::{Fetched, Record, Recordings, Replay, ReplayServer, Request, Secret, Transport};
use hambar_testkit::evil_http::{Answer, EvilHttp, Route};

use crate::support::{Bench, FixedClock, Store, assert_body, get, gzip, text};

/// The folder of real recordings; `None`, said aloud, where it is missing.
fn shared_data() -> Option<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if data.is_dir() {
        return Some(data);
    }
    assert!(std::env::var("CI").is_err(), "{} must be there in CI", data.display());
    println!("skipped: no ../shared");
    None
}

const RECORDINGS: [(&str, usize); 8] = [
    ("ckan/dados-gov-br-recorded", 78),
    ("crossref-recorded", 81),
    ("http-files-recorded", 15),
    ("noaa/recorded", 40),
    ("sdmx/imf-sdmx3-recorded", 38),
    ("sdmx/recorded-nsi-ws", 2),
    ("usgs/comcat-recorded", 138),
    ("zenodo-recorded", 51),
];

fn request_of(recordings: &Recordings, index: usize) -> Request {
    let exchange = &recordings.exchanges()[index];
    Request {
        method: exchange.method.parse().unwrap(),
        body: exchange.request_body.clone().map(bytes::Bytes::from),
        accept_status: vec![exchange.status],
        ..Request::get(exchange.url.clone())
    }
}

/// What the provider's body is without its encoding.
async fn decoded(recordings: &Recordings, index: usize) -> Vec<u8> {
    use tokio::io::AsyncReadExt;
    let exchange = &recordings.exchanges()[index];
    let bytes = std::fs::read(recordings.body_path(exchange)).unwrap();
    if exchange.header("content-encoding") != Some("gzip") {
        return bytes;
    }
    let mut plain = Vec::new();
    async_compression::tokio::bufread::GzipDecoder::new(bytes.as_slice()).read_to_end(&mut plain).await.unwrap();
    plain
}

#[tokio::test]
async fn real_recordings_are_answered_as_recorded() {
    let Some(data) = shared_data() else { return };
    for (folder, count) in RECORDINGS {
        let file = data.join(folder).join("replay.jsonl");
        let bench = Bench { store: Store::Memory, ..Bench::new() };
        let replay = Replay::open(&file, bench.landing(), Arc::new(FixedClock)).unwrap();
        assert_eq!(replay.recordings().exchanges().len(), count, "{folder}");
        for index in 0..count {
            let request = request_of(replay.recordings(), index);
            let expected = decoded(replay.recordings(), index).await;
            let outcome = replay.send(request, &bench.sink).await;
            assert_body(outcome, &expected);
        }
        assert_eq!(bench.sink.exchanges().len(), count);
    }
}

#[tokio::test]
async fn real_recordings_are_served_over_http() {
    let Some(data) = shared_data() else { return };
    for (folder, count) in RECORDINGS {
        let recordings = Recordings::open(&data.join(folder).join("replay.jsonl")).unwrap();
        let reference = Recordings::open(&data.join(folder).join("replay.jsonl")).unwrap();
        let server = ReplayServer::start(recordings).await.unwrap();
        let bench = Bench { store: Store::Memory, ..Bench::new() };
        let stack = bench.http();
        for index in 0..count {
            let mut request = request_of(&reference, index);
            // The server has no other origin than its own, so `http` and `https` twins come in recorded order.
            request.url = server.url(&request.url);
            let expected = decoded(&reference, index).await;
            assert_body(stack.send(request, &bench.sink).await, &expected);
        }
        assert_eq!(server.asked().len(), count, "{folder}");
    }
}

#[tokio::test]
async fn recorded_redirects_are_followed() {
    let Some(data) = shared_data() else { return };
    let bench = Bench::new();
    let file = data.join("crossref-recorded/replay.jsonl");
    let replay = Replay::open(&file, bench.landing(), Arc::new(FixedClock)).unwrap();
    let moved = replay.recordings().exchanges().iter().find(|exchange| exchange.status == 301).unwrap().url.clone();
    match replay.send(Request::get(moved.clone()), &bench.sink).await {
        Ok(Fetched::Fresh(landed)) => {
            assert!(landed.bytes > 0);
            assert_ne!(landed.meta.final_url, moved.as_str());
            assert!(landed.meta.header("x-rate-limit-limit").is_some());
        }
        other => panic!("{}", text(other)),
    }
    let error = text(replay.send(get("https://api.crossref.org/none"), &bench.sink).await);
    assert_eq!(error, "no recorded exchange answers GET `https://api.crossref.org/none`");
}

#[tokio::test]
async fn what_is_recorded_replays_the_same() {
    let body = gzip(b"year,value\n2020,1\n").await;
    let evil = EvilHttp::start([
        Route::new("/data", [Answer::ok(body).header("content-encoding", "gzip").header("etag", "\"1\"")]),
        Route::new("/moved", [Answer::redirect(302, "/data?page=2&api_key=canary")]),
        Route::new("/post", [Answer::ok("posted")]),
        Route::new("/gone", [Answer::status(410, "gone for good")]),
    ])
    .await;
    let bench = Bench::new();
    let dir = bench.dir.path().join("recording");
    let requests = || {
        let mut secret = get(&evil.url("/data?b=2&a=1"));
        secret.secret_query.push(("api_key".to_owned(), Secret::new("canary".to_owned())));
        let post = Request {
            method: http::Method::POST,
            body: Some(bytes::Bytes::from_static(b"{\"a\":1}")),
            ..get(&evil.url("/post"))
        };
        let mut moved = get(&evil.url("/moved"));
        moved.secret_query.push(("api_key".to_owned(), Secret::new("canary".to_owned())));
        [secret, moved, post, get(&evil.url("/gone"))]
    };
    let mut first = Vec::new();
    for request in requests() {
        // Opened each time: a recording goes on where it stopped.
        let record = Record::new(bench.http(), dir.clone()).unwrap();
        first.push(text(record.send(request, &bench.sink).await));
    }
    let recording = std::fs::read_to_string(dir.join("replay.jsonl")).unwrap();
    assert!(!recording.contains("canary"), "{recording}");
    assert_eq!(recording.lines().count(), 5);

    let replay = Replay::open(&dir.join("replay.jsonl"), bench.landing(), Arc::new(FixedClock)).unwrap();
    let mut second = Vec::new();
    for request in requests() {
        second.push(text(replay.send(request, &bench.sink).await));
    }
    assert_eq!(first, second);
    assert_eq!(first[0], "18 bytes");
    assert_eq!(evil.asked().len(), 5);
    let known = Validators { etag: Some("\"1\"".to_owned()), last_modified: None };
    let request = Request { validators: known, ..requests()[0].clone() };
    assert!(matches!(replay.send(request, &bench.sink).await, Ok(Fetched::NotModified(_))));
}
