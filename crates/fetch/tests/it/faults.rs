//! Network faults: silence, trickles, cuts, false lengths, bombs, torn encodings (`reliability.md` N1–N7, N15, N16).

use std::time::{Duration, Instant};

use hambar_core::{Classified, ErrorClass};
use hambar_fetch::{FetchError, Request};
use hambar_testkit::evil_http::{Answer, Cut, EvilHttp, Route};

use crate::support::{Bench, assert_body, brotli, get, gzip, noise, zstd};

async fn check(answer: Answer, expected: &str) {
    check_with(Bench::new(), answer, expected).await;
}

/// One answer, one attempt; the outcome begins with `expected`, and nothing lands unless it is whole.
async fn check_with(bench: Bench, answer: Answer, expected: &str) {
    let evil = EvilHttp::start([Route::new("/x", [answer])]).await;
    let text = bench.once_text(get(&evil.url("/x"))).await;
    assert!(text.starts_with(expected), "{text}\n does not begin with\n{expected}");
    if !text.ends_with(" bytes") || text.contains("incomplete") {
        bench.assert_nothing_landed();
        assert_eq!(bench.sink.exchanges().len(), 1);
        assert!(bench.sink.exchanges()[0].error.is_some());
    }
    let spooled = std::fs::read_dir(bench.spool()).map_or(0, |entries| entries.count());
    assert_eq!(spooled, 0, "spool files are left");
}

#[tokio::test]
async fn silence_ends_with_the_first_byte_limit() {
    let begun = Instant::now();
    check(Answer::silent(), "`URL` timed out: first byte of 500ms").await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn headers_that_trickle_or_flood_are_refused() {
    let trickle = Answer::ok("x").trickle_head(Duration::from_millis(30));
    check(trickle, "`URL` timed out: first byte of 500ms").await;
    let mut many = Answer::ok("x");
    for index in 0..2_000 {
        many = many.header(&format!("x-{index}"), "1");
    }
    check(many, "`URL`: header limit of 100 headers, or of 400 KiB in all, reached").await;
    let large = Answer::ok("x").header("x-large", &"y".repeat(100_000));
    check(large, "`URL`: header limit of 65536 bytes reached").await;
    let huge = Answer::ok("x").header("x-huge", &"y".repeat(1024 * 1024));
    check(huge, "`URL`: header limit of 100 headers, or of 400 KiB in all, reached").await;
}

#[tokio::test]
async fn a_trickling_body_is_given_up() {
    let trickle = Answer::ok(noise(10_000)).trickle(1, Duration::from_millis(20));
    check(trickle, "`URL` timed out: stall of 400ms").await;
    let mut bench = Bench::new();
    bench.config.total = Duration::from_millis(300);
    bench.config.stall = Duration::from_secs(60);
    let trickle = Answer::ok(noise(10_000)).trickle(1, Duration::from_millis(20));
    check_with(bench, trickle, "`URL` timed out: total of 300ms").await;
}

#[tokio::test]
async fn a_slow_but_living_body_arrives() {
    let slow = Answer::ok(noise(8_000)).trickle(1_000, Duration::from_millis(100));
    check(slow, "8000 bytes").await;
}

#[tokio::test]
async fn cut_bodies_name_both_lengths() {
    let body = || noise(100_000);
    check(Answer::ok(body()).cut_at(50, Cut::Fin), "`URL` is incomplete: announced 100000 bytes, received 50000 bytes")
        .await;
    check(Answer::ok(body()).cut_at(50, Cut::Rst), "`URL` is incomplete: announced 100000 bytes, received 50000 bytes")
        .await;
    check(Answer::ok(body()).announce(200_000), "`URL` is incomplete: announced 200000 bytes, received 100000 bytes")
        .await;
    let chunked = Answer::ok(body()).chunked().cut_at(50, Cut::Fin);
    check(chunked, "`URL` is incomplete: announced a last chunk, received 50000 bytes").await;
}

#[tokio::test]
async fn bytes_beyond_the_announced_length_are_no_second_answer() {
    let evil = EvilHttp::start([
        Route::new("/x", [Answer::ok("abcHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil").announce(3)]),
        Route::new("/y", [Answer::ok("good")]),
    ])
    .await;
    let bench = Bench::new();
    let http = bench.http();
    let send = |target: &str| {
        let request = get(&evil.url(target));
        let (http, sink) = (&http, &bench.sink);
        async move { hambar_fetch::Transport::send(http, request, sink).await }
    };
    assert_body(send("/x").await, b"abc");
    assert_body(send("/y").await, b"good");
    assert_eq!(evil.connections(), 2, "the smuggled connection was used again");
}

#[tokio::test]
async fn endless_bodies_stop_at_the_limit() {
    let evil = EvilHttp::start([Route::new("/x", [Answer::ok(noise(64 * 1024)).endless()])]).await;
    let bench = Bench::new();
    let request = Request { body_bytes_max: Some(1_000_000), ..get(&evil.url("/x")) };
    let error = bench.once(request).await.unwrap_err();
    assert!(matches!(error, FetchError::Limit { limit: "body limit", value: 1_000_000, .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Limit);
    assert!(*bench.sink.bytes.lock().unwrap() < 2_000_000);
    bench.assert_nothing_landed();
}

#[tokio::test]
async fn encodings_are_removed_and_counted() {
    let body = noise(300_000).repeat(3);
    let cases = [
        ("gzip", gzip(&body).await),
        ("x-gzip", gzip(&body).await),
        ("br", brotli(&body).await),
        ("zstd", zstd(&body).await),
    ];
    for (coding, encoded) in cases {
        let length = encoded.len() as u64;
        let evil = EvilHttp::start([Route::new("/x", [Answer::ok(encoded).header("content-encoding", coding)])]).await;
        let bench = Bench::new();
        let landed = assert_body(bench.once(get(&evil.url("/x"))).await, &body);
        assert_eq!((landed.meta.bytes_wire, landed.meta.bytes), (length, body.len() as u64), "{coding}");
        assert_eq!(evil.asked()[0].header("accept-encoding"), Some("gzip, br, zstd"));
    }
    // Several gzip members are one body.
    let members = [gzip(&body).await, gzip(b"tail").await].concat();
    check(Answer::ok(members).header("content-encoding", "gzip"), "900004 bytes").await;
    // No header, no decoding; an empty body is empty in every encoding.
    let bare = gzip(b"abc").await;
    let expected = format!("{} bytes", bare.len());
    check(Answer::ok(bare), &expected).await;
    check(Answer::ok("").header("content-encoding", "gzip"), "0 bytes").await;
}

#[tokio::test]
async fn torn_encodings_are_errors() {
    let body = noise(100_000);
    for (coding, encoded) in [("gzip", gzip(&body).await), ("br", brotli(&body).await), ("zstd", zstd(&body).await)] {
        let torn = Answer::ok(encoded[..encoded.len() - 10].to_vec()).header("content-encoding", coding);
        let name = if coding == "br" { "brotli" } else { coding };
        check(torn, &format!("`URL` is incomplete: announced a whole {name} body, received ")).await;
        let trailing = [encoded, b"garbage".to_vec()].concat();
        let expected = if coding == "br" {
            "`URL`: bytes follow the end of the brotli body".to_owned()
        } else {
            format!("`URL` is incomplete: announced a whole {name} body")
        };
        check(Answer::ok(trailing).header("content-encoding", coding), &expected).await;
    }
    let lie = Answer::ok("<html>not gzip at all</html>").header("content-encoding", "gzip");
    check(lie, "`URL` is incomplete: announced a whole gzip body").await;
    let layers = Answer::ok(gzip(b"x").await).header("content-encoding", "gzip, gzip, gzip");
    check(layers, "`URL`: 3 content encodings (`gzip, gzip, gzip`); at most 1 is read").await;
    let unknown = Answer::ok("x").header("content-encoding", "compress");
    check(unknown, "`URL`: content encoding `compress` is not one of gzip, br, zstd").await;
}

#[tokio::test]
async fn bombs_stop_at_the_ratio_or_the_size() {
    let zeros = vec![0_u8; 16 * 1024 * 1024];
    // The same member again and again: 640 MiB from 640 KiB.
    let bomb = gzip(&zeros).await.repeat(40);
    let cases = [("gzip", bomb), ("br", brotli(&zeros).await), ("zstd", zstd(&zeros).await)];
    for (coding, encoded) in cases {
        let begun = Instant::now();
        let answer = || Answer::ok(encoded.clone()).header("content-encoding", coding);
        check(answer(), "`URL`: decompression ratio of 200 decoded bytes per byte reached").await;
        let mut bench = Bench::new();
        bench.config.decoded_bytes_max = 1024 * 1024;
        check_with(bench, answer(), "`URL`: decoded limit of 1048576 bytes reached").await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{coding}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn digests_are_compared() {
    let good = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
    check(Answer::ok("hello").header("repr-digest", good), "5 bytes").await;
    let wrong = Answer::ok("jello").header("repr-digest", good);
    check(wrong, "`URL` is incomplete: announced sha-256 2cf24dba").await;
    let encoded = Answer::ok(gzip(b"hello").await).header("content-encoding", "gzip").header("repr-digest", good);
    check(encoded, "5 bytes").await;
}

#[tokio::test]
async fn error_answers_carry_the_beginning_of_their_text() {
    let page = "<html>\r\n<body>Down for\x07 maintenance</body></html>".to_owned() + &"x".repeat(100_000);
    let evil = EvilHttp::start([Route::new("/x", [Answer::status(500, page)])]).await;
    let text = Bench::new().once_text(get(&evil.url("/x"))).await;
    assert!(text.starts_with("`URL` answered 500: <html> <body>Down for maintenance</body></html>xxx"), "{text}");
    assert!(text.len() < 600);
    let message = gzip(b"quota exceeded").await;
    check(Answer::status(403, message).header("content-encoding", "gzip"), "`URL` answered 403: quota exceeded").await;
    check(Answer::raw("SSH-2.0-OpenSSH_9\r\n"), "`URL`: the answer is not HTTP").await;
    check(Answer::raw(""), "connection to `URL` failed").await;
}

#[tokio::test]
async fn accepted_statuses_are_landed() {
    let evil = EvilHttp::start([Route::new("/x", [Answer::status(413, "<footer/>")])]).await;
    let request = Request { accept_status: vec![413], ..get(&evil.url("/x")) };
    let bench = Bench::new();
    let landed = assert_body(bench.once(request).await, b"<footer/>");
    assert_eq!(landed.meta.status, Some(413));
    let opened = bench.landing().open(&landed.sha256).await.unwrap();
    // The record is written before the bytes, so it does not know how long storing them took.
    let milliseconds = landed.meta.milliseconds;
    assert_eq!(hambar_fetch::FetchMeta { milliseconds, ..opened.meta }, landed.meta);
}

#[tokio::test]
async fn confidential_answers_are_not_kept() {
    let evil = EvilHttp::start([Route::new("/x", [Answer::ok("token")])]).await;
    let bench = Bench::new();
    let request = Request { is_confidential: true, ..get(&evil.url("/x")) };
    let landed = assert_body(bench.once(request).await, b"token");
    bench.assert_nothing_landed();
    drop(landed);
    assert_eq!(std::fs::read_dir(bench.spool()).unwrap().count(), 0);
}
