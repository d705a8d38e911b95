//! Hosts that are down (`reliability.md` N18): they cost neither sockets nor waiting, and come back by themselves.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use hambar_core::{Classified, ErrorClass};
use hambar_fetch::{FetchError, Stack};
use hambar_testkit::evil_http::{Answer, EvilHttp, Route};

use crate::support::{Bench, FixedClock, assert_body, get};

#[tokio::test]
async fn a_host_that_is_down_is_left_alone_and_tried_again() {
    let evil = EvilHttp::start([Route::new("/x", [Answer::status(503, "down")])]).await;
    let mut bench = Bench::new();
    bench.config.breaker_failures = 6;
    bench.config.breaker_pause = Duration::from_millis(300);
    let stack = Stack::new(&bench.config, bench.landing(), Arc::new(FixedClock)).unwrap();
    let url = evil.url("/x");
    let ask = || {
        // Each run has a transport of its own; what is known of hosts is everybody's.
        let transport = stack.transport(1);
        let (url, sink) = (url.clone(), &bench.sink);
        async move { transport.send(get(&url), sink).await }
    };
    assert!(matches!(ask().await.unwrap_err(), FetchError::Status { status: 503, .. }));
    assert_eq!(evil.asked().len(), 4);
    // Two more failures, and the third request of ours is not sent any more.
    let error = ask().await.unwrap_err();
    assert_eq!(evil.asked().len(), 6);
    assert_eq!(error.class(), ErrorClass::Transient);
    let host = evil.url("").replace("http://", "");
    let expected = format!("`{host}` is down: 6 failures in a row; not asked again before 2026-09-01T08:00:0");
    assert!(error.to_string().starts_with(&expected), "{error}");
    for _ in 0..100 {
        assert!(matches!(ask().await.unwrap_err(), FetchError::Down { failures: 6, .. }));
    }
    assert_eq!(evil.asked().len(), 6);
    // After the pause one request finds out, alone.
    tokio::time::sleep(Duration::from_millis(350)).await;
    let outcomes = join_all((0..20).map(|_| ask())).await;
    assert!(outcomes.iter().all(Result::is_err));
    assert_eq!(evil.asked().len(), 7);
    // The host is back, on other addresses of its own too.
    evil.set(Route::new("/x", [Answer::ok("body")]));
    tokio::time::sleep(Duration::from_millis(650)).await;
    assert_body(ask().await, b"body");
    for outcome in join_all((0..20).map(|_| ask())).await {
        assert_body(outcome, b"body");
    }
}

#[tokio::test]
async fn refusals_of_single_addresses_do_not_close_a_host() {
    let refuse = |status| Route::new(&format!("/{status}"), [Answer::status(status, "no")]);
    let evil = EvilHttp::start([refuse(404), refuse(401), refuse(500), Route::new("/x", [Answer::ok("body")])]).await;
    let mut bench = Bench::new();
    bench.config.breaker_failures = 2;
    let stack = bench.stack();
    for status in [404, 401, 500, 404, 500] {
        let url = evil.url(&format!("/{status}"));
        assert!(matches!(stack.send(get(&url), &bench.sink).await, Err(FetchError::Status { .. })));
    }
    assert_body(stack.send(get(&evil.url("/x")), &bench.sink).await, b"body");
}

#[tokio::test]
async fn three_hundred_dead_sources_cost_little() {
    // Addresses of the loopback network on which nothing listens: 30 hosts with ten sources each.
    let port = {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.local_addr().unwrap().port()
    };
    let mut bench = Bench::new();
    bench.config.allow_hosts = hambar_fetch::AllowHosts::parse(["127.0.0.0/8"]).unwrap();
    let stack = Stack::new(&bench.config, bench.landing(), Arc::new(FixedClock)).unwrap();
    let sources = (0..300).map(|source| {
        let (transport, sink) = (stack.transport(source), &bench.sink);
        let url = format!("http://127.1.{}.1:{port}/{source}", source % 30);
        async move { transport.send(get(&url), sink).await.unwrap_err().class() }
    });
    // Another task must go on meanwhile: this is the scheduler's loop.
    let lags = Arc::new(Mutex::new(Vec::new()));
    let ticks = Arc::clone(&lags);
    let ticking = tokio::spawn(async move {
        loop {
            let before = Instant::now();
            tokio::time::sleep(Duration::from_millis(5)).await;
            ticks.lock().unwrap().push(before.elapsed());
        }
    });
    let classes = join_all(sources).await;
    assert!(classes.iter().all(|class| *class == ErrorClass::Transient));
    ticking.abort();
    let mut lags = lags.lock().unwrap().clone();
    lags.sort();
    // Of a hundred turns one may be late: the machine may be busy with something else.
    let late = lags.get(lags.len().saturating_sub(1 + lags.len().div_ceil(100))).copied().unwrap_or_default();
    assert!(late < Duration::from_secs(1), "a turn of the loop took {late:?}");
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    assert!(descriptors < 1_000, "{descriptors} descriptors");
    // Without the breaker each source would have asked four times.
    let asked = bench.sink.exchanges().len();
    assert!(asked < 30 * 20, "{asked} connections were tried");
}
