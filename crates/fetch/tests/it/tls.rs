//! TLS and HTTP/2 that go wrong (`reliability.md` N13, N19): nothing of it lands, nothing of it hangs, and what cannot
//! get better is asked once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hambar_core::{Classified, ErrorClass};
use hambar_fetch::FetchError;
use hambar_testkit::evil_tls::frames::{self, Last};
use hambar_testkit::evil_tls::{Certificate, End, EvilTls, Script, Step};

use crate::support::{Bench, assert_body, get, text};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody";

/// A bench that trusts the server's authority.
fn trusting(evil: &EvilTls) -> Bench {
    let mut bench = Bench::new();
    let file = bench.dir.path().join("authority.pem");
    std::fs::write(&file, evil.authority_pem()).unwrap();
    bench.config.ca_file = Some(file);
    bench
}

#[tokio::test]
async fn a_good_certificate_is_trusted_through_the_configured_authority() {
    let evil = EvilTls::start(Certificate::Good, Script::Http1(Bytes::from_static(ANSWER), End::Goodbye)).await;
    assert_body(trusting(&evil).send(get(&evil.url("/x"))).await, b"body");
    // The same server without its authority.
    let error = Bench::new().send(get(&evil.url("/x"))).await.unwrap_err();
    assert!(matches!(error, FetchError::Untrusted { .. }), "{error}");
}

#[tokio::test]
async fn wrong_certificates_are_refused_once_and_nothing_is_asked() {
    for (wrong, expected) in [
        (Certificate::Expired, "expired"),
        (Certificate::NotYetValid, "not valid yet"),
        (Certificate::OtherHost, "not valid for name"),
        (Certificate::SelfSigned, "UnknownIssuer"),
        (Certificate::UnknownAuthority, "UnknownIssuer"),
    ] {
        let evil = EvilTls::start(wrong, Script::Http1(Bytes::from_static(ANSWER), End::Goodbye)).await;
        let bench = trusting(&evil);
        let url = evil.url("/x");
        let error = bench.send(get(&url)).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Denied, "{wrong:?}: {error}");
        let message = error.to_string();
        assert!(message.starts_with(&format!("`{url}` cannot be trusted: ")), "{wrong:?}: {message}");
        assert!(message.contains(expected), "{wrong:?}: {message}");
        assert_eq!((evil.connections(), evil.requests()), (1, 0), "{wrong:?}");
        assert_eq!(bench.sink.exchanges().len(), 1);
        bench.assert_nothing_landed();
    }
}

#[tokio::test]
async fn a_server_that_only_speaks_old_tls_is_refused_once() {
    // The alert `protocol_version` in a TLS 1.0 record, as a server answers that knows nothing above TLS 1.1.
    let alert = Bytes::from_static(&[21, 3, 1, 0, 2, 2, 70]);
    let evil = EvilTls::start(Certificate::Good, Script::Plain(alert)).await;
    let bench = trusting(&evil);
    let error = bench.send(get(&evil.url("/x"))).await.unwrap_err();
    assert_eq!((error.class(), evil.connections()), (ErrorClass::Denied, 1), "{}", hambar_core::Chain(&error));
}

#[tokio::test]
async fn what_is_no_tls_is_tried_again() {
    let evil = EvilTls::start(Certificate::Good, Script::Plain(Bytes::new())).await;
    let bench = trusting(&evil);
    let error = bench.send(get(&evil.url("/x"))).await.unwrap_err();
    assert_eq!((error.class(), evil.connections()), (ErrorClass::Transient, 4), "{}", hambar_core::Chain(&error));
}

#[tokio::test]
async fn a_cut_connection_is_no_end_of_a_body() {
    let until_close = Bytes::from_static(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\na,b\n1,2\n");
    let evil = EvilTls::start(Certificate::Good, Script::Http1(until_close.clone(), End::Cut)).await;
    let bench = trusting(&evil);
    let error = bench.once(get(&evil.url("/x"))).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Incomplete, "{error}");
    bench.assert_nothing_landed();
    // With the goodbye it is one.
    let evil = EvilTls::start(Certificate::Good, Script::Http1(until_close, End::Goodbye)).await;
    assert_body(trusting(&evil).once(get(&evil.url("/x"))).await, b"a,b\n1,2\n");
    let short = Bytes::from_static(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbody");
    let evil = EvilTls::start(Certificate::Good, Script::Http1(short, End::Cut)).await;
    let told = text(trusting(&evil).once(get(&evil.url("/x"))).await);
    assert!(told.contains("is incomplete: announced 100 bytes, received 4 bytes"), "{told}");
}

/// What came of one request over HTTP/2, and how long it took.
async fn asked(steps: Vec<Step>) -> (EvilTls, Bench, String) {
    let begin = vec![Step::Send(frames::settings()), Step::Request];
    let script = Script::Http2(begin.into_iter().chain(steps).collect());
    let evil = EvilTls::start(Certificate::Good, script).await;
    let bench = trusting(&evil);
    let begun = Instant::now();
    let told = text(bench.once(get(&evil.url("/x"))).await).replace(&evil.url("/x"), "URL");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}: {told}", begun.elapsed());
    (evil, bench, told)
}

/// The outcome begins with `expected`, and nothing landed.
async fn refused(steps: Vec<Step>, expected: &str) -> EvilTls {
    let (evil, bench, told) = asked(steps).await;
    assert!(told.starts_with(expected), "{told}\n does not begin with\n{expected}");
    bench.assert_nothing_landed();
    evil
}

fn joined(frames: &[Bytes]) -> Step {
    Step::Send(frames.concat().into())
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered() {
    let answer = [frames::ok(&[("content-length", "4")], Last::No), frames::data(b"body", Last::Yes)];
    let (evil, _, told) = asked(vec![joined(&answer), Step::Hold]).await;
    assert_eq!((told.as_str(), evil.requests()), ("4 bytes", 1));
}

#[tokio::test]
async fn streams_that_break_off_are_incomplete() {
    let begin = [frames::ok(&[("content-length", "100000")], Last::No), frames::data(&[b'x'; 5_000], Last::No)];
    let begin = || Bytes::from(begin.concat());
    let incomplete = "`URL` is incomplete: announced 100000 bytes, received ";
    refused(vec![Step::Send(begin()), joined(&[frames::reset(frames::INTERNAL_ERROR)]), Step::Hold], incomplete).await;
    // "No error" is no end either.
    refused(vec![Step::Send(begin()), joined(&[frames::reset(frames::NO_ERROR)]), Step::Hold], incomplete).await;
    refused(vec![Step::Send(begin()), joined(&[frames::goaway(0, frames::INTERNAL_ERROR)]), Step::Hold], incomplete)
        .await;
    refused(vec![Step::Send(begin()), Step::Close(End::Cut)], incomplete).await;
    refused(vec![Step::Send(begin()), Step::Close(End::Goodbye)], incomplete).await;
    // The stream says that it ends, and the length says that it does not.
    let short = [begin(), frames::data(b"x", Last::Yes)];
    refused(vec![joined(&short), Step::Hold], incomplete).await;
    // Without a length, only the end of the stream proves the body whole.
    let endless = [frames::ok(&[], Last::No), frames::data(b"a,b\n1,2\n", Last::No)];
    let told = "`URL` is incomplete: announced a last chunk, received ";
    refused(vec![joined(&endless), Step::Close(End::Goodbye)], told).await;
    refused(vec![joined(&endless), joined(&[frames::reset(frames::NO_ERROR)]), Step::Hold], told).await;
}

#[tokio::test]
async fn a_connection_that_is_given_up_is_replaced() {
    // GOAWAY before the answer: the request was not looked at and may be sent again.
    let steps = vec![
        Step::Send(frames::settings()),
        Step::Request,
        joined(&[frames::goaway(0, frames::NO_ERROR)]),
        Step::Close(End::Goodbye),
    ];
    let evil = EvilTls::start(Certificate::Good, Script::Http2(steps)).await;
    let bench = trusting(&evil);
    let error = bench.send(get(&evil.url("/x"))).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient, "{error}");
    assert!((4..=8).contains(&evil.connections()), "{} connections for four attempts", evil.connections());
}

#[tokio::test]
async fn a_stream_that_stalls_is_given_up() {
    let begin = [frames::ok(&[("content-length", "100000")], Last::No), frames::data(b"x", Last::No)];
    refused(vec![joined(&begin), Step::Hold], "`URL` timed out: stall of 400ms").await;
    refused(vec![Step::Hold], "`URL` timed out: first byte of 500ms").await;
    // Frames without a byte of body are no sign of life, however many come.
    let pings = frames::ping().repeat(1_000).into();
    refused(vec![joined(&begin), Step::Flood(pings, 1 << 30)], "`URL` ").await;
}

#[tokio::test]
async fn data_beyond_the_window_is_an_error() {
    // The client opens its window as it reads; a sender that takes no notice overruns it at some point, or arrives.
    let length = (200 << 20).to_string();
    let begin = frames::ok(&[("content-length", length.as_str())], Last::No);
    let flood = frames::data(&[b'x'; 16 * 1024], Last::No);
    let (_, bench, told) = asked(vec![Step::Send(begin), Step::Flood(flood, 8 << 20), Step::Hold]).await;
    assert!(told.starts_with("`URL` is incomplete") || told.starts_with("`URL` timed out: stall"), "{told}");
    bench.assert_nothing_landed();
}

#[tokio::test]
async fn floods_of_headers_and_frames_end() {
    let flood_max = 256 << 20;
    // A head without end (CVE-2024-27316).
    let begin = Step::Send(frames::unfinished_head());
    let evil = refused(
        vec![begin, Step::Flood(frames::continuation(8_000), flood_max), Step::Hold],
        "connection to `URL` failed",
    )
    .await;
    assert!(evil.flooded() < 32 << 20, "{} bytes were read", evil.flooded());
    // Empty data frames (RUSTSEC-2026-0258's shape) and settings without end.
    let begin = Step::Send(frames::ok(&[("content-length", "10")], Last::No));
    for frame in [frames::data(b"", Last::No), frames::settings()] {
        let flood = Step::Flood(frame.repeat(1_000).into(), flood_max);
        let evil = refused(vec![begin.clone(), flood, Step::Hold], "`URL` ").await;
        assert!(evil.flooded() < flood_max, "all of it was read");
    }
}
