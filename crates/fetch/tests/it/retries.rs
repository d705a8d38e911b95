//! Retries, quotas and what the run hears of them (`reliability.md` N1, N11, N17).

use std::time::{Duration, Instant};

use hambar_core::{Classified, ErrorClass};
use hambar_fetch::HostLimits;
use hambar_testkit::evil_http::{Answer, EvilHttp, Route};

use crate::support::{Bench, assert_body, get, text};

#[tokio::test]
async fn passing_errors_are_tried_again() {
    let answers = [Answer::status(500, ""), Answer::status(503, "busy"), Answer::raw(""), Answer::ok("body")];
    let evil = EvilHttp::start([Route::new("/x", answers)]).await;
    let bench = Bench::new();
    let landed = assert_body(bench.send(get(&evil.url("/x"))).await, b"body");
    assert_eq!(landed.meta.attempt, 4);
    let told: Vec<_> =
        bench.sink.exchanges().iter().map(|meta| (meta.attempt, meta.status, meta.error.is_some())).collect();
    assert_eq!(told, [(1, Some(500), true), (2, Some(503), true), (3, None, true), (4, Some(200), false)]);
    let waits = bench.sink.waits.lock().unwrap().join("\n");
    assert!(waits.contains("retry in 0.0 s") && waits.contains("answered 503: busy"), "{waits}");
}

#[tokio::test]
async fn attempts_end() {
    for (answer, asked) in [
        (Answer::status(503, ""), 4),
        (Answer::silent(), 4),
        (Answer::status(404, ""), 1),
        (Answer::status(401, ""), 1),
    ] {
        let evil = EvilHttp::start([Route::new("/x", [answer])]).await;
        let mut bench = Bench::new();
        bench.config.first_byte = Duration::from_millis(100);
        assert!(bench.send(get(&evil.url("/x"))).await.is_err());
        assert_eq!(evil.asked().len(), asked);
    }
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let busy = || Answer::status(429, "").header("retry-after", "1");
    let evil = EvilHttp::start([Route::new("/x", [busy(), Answer::ok("body")])]).await;
    let bench = Bench::new();
    assert_body(bench.send(get(&evil.url("/x"))).await, b"body");
    let asked = evil.asked();
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(1));
    // The clock of these tests stands at 08:00:00.
    let date = Answer::status(503, "").header("retry-after", "Tue, 01 Sep 2026 08:00:01 GMT");
    let past = Answer::status(503, "").header("retry-after", "Tue, 01 Sep 2020 08:00:00 GMT");
    evil.set(Route::new("/y", [date, past, Answer::ok("body")]));
    let begun = Instant::now();
    assert_body(bench.send(get(&evil.url("/y"))).await, b"body");
    assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&begun.elapsed()));
}

#[tokio::test]
async fn a_wait_beyond_an_hour_ends_the_run_and_says_when() {
    let evil = EvilHttp::start([Route::new("/x", [Answer::status(429, "").header("retry-after", "86400")])]).await;
    let error = Bench::new().send(get(&evil.url("/x"))).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Quota);
    assert!(error.to_string().contains("quota used up until 2026-09-02T08:00:00Z"), "{error}");
    assert_eq!(evil.asked().len(), 1);
}

#[tokio::test]
async fn quota_headers_hold_the_next_request_back() {
    let last = Answer::ok("a").header("x-ratelimit-limit", "60").header("x-ratelimit-remaining", "0");
    let evil = EvilHttp::start([
        Route::new("/x", [last.header("x-ratelimit-reset", "1")]),
        Route::new("/y", [Answer::ok("b").header("ratelimit", "\"day\";r=0;t=90000")]),
        // Zenodo sends Retry-After with every answer; only refusals make it mean something.
        Route::new("/z", [Answer::ok("c").header("retry-after", "3600")]),
    ])
    .await;
    let bench = Bench::new();
    let stack = bench.stack();
    let send = |target: &str| stack.send(get(&evil.url(target)), &bench.sink);
    assert_body(send("/z").await, b"c");
    assert_body(send("/x").await, b"a");
    assert_body(send("/y").await, b"b");
    let asked = evil.asked();
    assert!(asked[1].at - asked[0].at < Duration::from_millis(500));
    assert!(asked[2].at - asked[1].at >= Duration::from_millis(900));
    assert!(bench.sink.waits.lock().unwrap().iter().any(|wait| wait.starts_with("quota of 127.0.0.1, ")));
    let error = text(send("/z").await);
    assert!(error.contains("quota used up until 2026-09-02T08:59:59"), "{error}");
}

#[tokio::test]
async fn a_host_is_asked_by_few_at_once_and_not_too_often() {
    let slow = Answer::ok("x").trickle_head(Duration::from_millis(4));
    let evil = EvilHttp::start([Route::new("/x", [slow]), Route::new("/y", [Answer::ok("y")])]).await;
    let mut bench = Bench::new();
    let limits = HostLimits { requests: 100, period: Duration::from_millis(100), concurrency: 2 };
    bench.config.hosts.insert("127.0.0.1".to_owned(), limits);
    let stack = bench.stack();
    let all = (0..6).map(|_| stack.send(get(&evil.url("/x")), &bench.sink));
    for outcome in futures::future::join_all(all).await {
        assert_body(outcome, b"x");
    }
    assert_eq!(evil.busiest(), 2);

    let limits = HostLimits { requests: 5, period: Duration::from_millis(500), concurrency: 8 };
    bench.config.hosts.insert("127.0.0.1".to_owned(), limits);
    let stack = bench.stack();
    let begun = Instant::now();
    let all = (0..10).map(|_| stack.send(get(&evil.url("/y")), &bench.sink));
    for outcome in futures::future::join_all(all).await {
        assert_body(outcome, b"y");
    }
    assert!(begun.elapsed() >= Duration::from_millis(450), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn nothing_listens_is_a_passing_error() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let error = Bench::new().once(get(&url)).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient, "{error}");
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_bounded_and_holds_nobody_up() {
    let evil = EvilHttp::start([Route::new("/x", [Answer::ok("body")])]).await;
    let mut bench = Bench::new();
    bench.config.connect = Duration::from_secs(1);
    bench.config.first_byte = Duration::from_secs(2);
    let stack = bench.stack();
    let begun = Instant::now();
    // `.invalid` has no addresses anywhere (RFC 6761), whether the resolver says so at once or never answers.
    let unknown = stack.send(get("http://granary.invalid/x"), &bench.sink);
    let known = async {
        let outcome = stack.send(get(&evil.url("/x")), &bench.sink).await;
        (outcome, begun.elapsed())
    };
    let (error, (outcome, known_after)) = tokio::join!(unknown, known);
    assert_body(outcome, b"body");
    assert!(known_after < Duration::from_secs(1), "{known_after:?}");
    assert_eq!(error.unwrap_err().class(), ErrorClass::Transient);
    // Four attempts of at most a second each, and their short waits.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
