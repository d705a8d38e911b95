//! One address that the settings name: asked once, without redirects, and read only as far as it is bounded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hambar_fetch::{Direct, FetchConfig, Secret, Told};
use hambar_testkit::evil_http::{Answer, EvilHttp, Route};
use url::Url;

use crate::support::FixedClock;

async fn told(answer: Answer) -> (Result<Told, String>, EvilHttp) {
    let evil = EvilHttp::start([Route::new("/x", [answer]), Route::new("/y", [Answer::ok("other")])]).await;
    let headers = [("authorization".to_owned(), Secret::new("Bearer canary".to_owned()))];
    let url = Url::parse(&format!("{}?key=canary", evil.url("/x"))).unwrap();
    // Loopback is not allowed to anybody else.
    let direct = Direct::new(&FetchConfig::default(), url, &headers, Arc::new(FixedClock)).unwrap();
    let told = direct.post("text/plain", Bytes::from_static(b"body")).await;
    (told.map_err(|error| hambar_core::Chain(&error).to_string()), evil)
}

#[tokio::test]
async fn it_is_asked_once_and_told_everything() {
    let (answer, evil) = told(Answer::status(503, "busy").header("retry-after", "7")).await;
    let expected = Told { status: 503, retry_after: Some(Duration::from_secs(7)), body: Bytes::from_static(b"busy") };
    assert_eq!(answer, Ok(expected));
    let asked = evil.asked();
    assert_eq!((asked.len(), asked[0].header("authorization")), (1, Some("Bearer canary")));
    assert_eq!(asked[0].header("content-type"), Some("text/plain"));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (answer, evil) = told(Answer::redirect(307, "/y")).await;
    assert_eq!((answer.unwrap().status, evil.asked().len()), (307, 1));
}

#[tokio::test]
async fn a_body_without_end_is_read_up_to_a_limit() {
    let (answer, _evil) = told(Answer::ok(vec![b'x'; 4096]).endless()).await;
    assert_eq!(answer.unwrap().body.len(), 64 * 1024);
}

#[tokio::test]
async fn what_is_no_answer_is_told_without_secrets() {
    let (answer, _evil) = told(Answer::raw(vec![0xff; 512])).await;
    let error = answer.unwrap_err();
    assert!(error.contains("not HTTP") && !error.contains("canary"), "{error}");
}
