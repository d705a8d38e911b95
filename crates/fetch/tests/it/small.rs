//! Small exchanges: bounded, by the same rule of addresses, and nothing is followed.

use std::time::Duration;

use hambar_core::Chain;
use hambar_fetch::{AllowHosts, FetchConfig, Small, SmallLimits};
use hambar_testkit::evil_http::{Answer, EvilHttp, Route};
use http::Request;

const LIMITS: SmallLimits = SmallLimits { body_bytes_max: 1000, total: Duration::from_millis(700) };

async fn ask(allowed: &[&str], url: &str) -> Result<(u16, String), String> {
    let allow_hosts = AllowHosts::parse(allowed.iter().copied()).unwrap();
    let small = Small::new(&FetchConfig { allow_hosts, ..FetchConfig::default() }).unwrap();
    let request = Request::post(url).header("authorization", "hunter2").body(b"hunter2".to_vec()).unwrap();
    let answer = small.send(request, LIMITS).await.map_err(|error| Chain(&error).to_string())?;
    Ok((answer.status().as_u16(), String::from_utf8(answer.into_body()).unwrap()))
}

#[tokio::test]
async fn what_is_answered_is_returned_and_nothing_is_followed() {
    let server = EvilHttp::start([
        Route::new("/ok", [Answer::ok("yes")]),
        Route::new("/no", [Answer::status(400, "no")]),
        Route::new("/elsewhere", [Answer::redirect(307, "/ok")]),
    ])
    .await;
    let url = |target: &str| server.url(target);
    assert_eq!(ask(&["127.0.0.1"], &url("/ok")).await, Ok((200, "yes".to_owned())));
    assert_eq!(ask(&["127.0.0.1"], &url("/no")).await, Ok((400, "no".to_owned())));
    assert_eq!(ask(&["127.0.0.1"], &url("/elsewhere")).await.unwrap().0, 307);
    let targets: Vec<String> = server.asked().into_iter().map(|asked| asked.target).collect();
    assert_eq!(targets, ["/ok", "/no", "/elsewhere"]);
}

#[tokio::test]
async fn limits_and_the_rule_of_addresses_hold_and_errors_hold_no_secret() {
    let server = EvilHttp::start([
        Route::new("/large", [Answer::ok("x".repeat(1001))]),
        Route::new("/endless", [Answer::ok("x".repeat(500)).endless()]),
        Route::new("/silent", [Answer::silent()]),
        Route::new("/slow", [Answer::ok("x".repeat(900)).trickle(1, Duration::from_millis(50))]),
    ])
    .await;
    for (allowed, target, said) in [
        (&["127.0.0.1"][..], "/large", "body limit of 1000 bytes"),
        (&["127.0.0.1"][..], "/endless", "body limit of 1000 bytes"),
        (&["127.0.0.1"][..], "/silent", "timed out: total of 700ms"),
        (&["127.0.0.1"][..], "/slow", "timed out: total of 700ms"),
        (&[][..], "/large", "127.0.0.1 is not a public address (loopback)"),
    ] {
        let error = ask(allowed, &format!("{}?hunter2", server.url(target))).await.unwrap_err();
        assert!(error.contains(said) && error.contains(target), "{target}: {error}");
        assert!(!error.contains("hunter2"), "{target}: {error}");
    }
}
