//! Conditional requests: an unchanged answer costs one exchange and no body.

use hambar_core::Validators;
use hambar_fetch::{Fetched, Request};
use hambar_testkit::evil_http::{Answer, EvilHttp, Route};

use crate::support::{Bench, assert_body, get, text};

async fn check(headers: &[(&str, &str)], etag: Option<&str>, last_modified: Option<&str>, expected: &str) {
    let answer =
        headers.iter().fold(Answer::ok("body").conditional(), |answer, (name, value)| answer.header(name, value));
    let evil = EvilHttp::start([Route::new("/x", [answer])]).await;
    let validators = Validators { etag: etag.map(str::to_owned), last_modified: last_modified.map(str::to_owned) };
    let request = Request { validators, ..get(&evil.url("/x")) };
    assert_eq!(text(Bench::new().send(request).await), expected);
    assert_eq!(evil.asked().len(), 1);
    assert_eq!(evil.asked()[0].header("if-none-match"), etag);
    assert_eq!(evil.asked()[0].header("if-modified-since"), last_modified);
}

#[tokio::test]
async fn validators_are_sent_and_believed() {
    let date = "Tue, 01 Sep 2026 08:00:00 GMT";
    check(&[("etag", "\"1\"")], Some("\"1\""), None, "not modified").await;
    check(&[("etag", "W/\"1\"")], Some("W/\"1\""), None, "not modified").await;
    check(&[("etag", "\"2\"")], Some("\"1\""), None, "4 bytes").await;
    check(&[("last-modified", date)], None, Some(date), "not modified").await;
    check(&[("last-modified", "Wed, 02 Sep 2099 08:00:00 GMT")], None, Some(date), "4 bytes").await;
}

#[tokio::test]
async fn answers_hand_over_the_validators_for_the_next_request() {
    let answer = Answer::ok("body").header("ETag", "\"7\"").header("Last-Modified", "Tue, 01 Sep 2026 08:00:00 GMT");
    let evil = EvilHttp::start([Route::new("/x", [answer.conditional()])]).await;
    let bench = Bench::new();
    let landed = assert_body(bench.send(get(&evil.url("/x"))).await, b"body");
    let request = Request { validators: landed.meta.validators(), ..get(&evil.url("/x")) };
    match bench.send(request).await.unwrap() {
        Fetched::NotModified(meta) => {
            assert_eq!(meta.status, Some(304));
            assert_eq!(meta.validators(), landed.meta.validators());
            assert_eq!(meta.sha256, None);
        }
        Fetched::Fresh(_) => panic!("not conditional"),
    }
    assert_eq!(bench.sink.exchanges().len(), 2);
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_an_error() {
    let evil = EvilHttp::start([Route::new("/x", [Answer::status(304, "")])]).await;
    assert_eq!(Bench::new().once_text(get(&evil.url("/x"))).await, "`URL`: 304 to a request without validators");
}

#[tokio::test]
async fn a_head_request_brings_headers_only() {
    let evil = EvilHttp::start([Route::new("/x", [Answer::ok("body").header("etag", "\"1\"")])]).await;
    let request = Request { method: http::Method::HEAD, ..get(&evil.url("/x")) };
    let landed = assert_body(Bench::new().send(request).await, b"");
    assert_eq!(landed.meta.header("content-length"), Some("4"));
    assert_eq!(landed.meta.header("etag"), Some("\"1\""));
}
