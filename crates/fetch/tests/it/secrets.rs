//! No secret is shown or stored (`reliability.md` K1, K4).

use std::path::Path;

use hambar_fetch::{Request, Secret};
use hambar_testkit::evil_http::{Answer, EvilHttp, Route};

use crate::support::{Bench, get, text};

fn secret_request(url: &str) -> Request {
    let mut request = get(url);
    request.secret_headers.push(("x-api-key".to_owned(), Secret::new("canary-header".to_owned())));
    request.secret_query.push(("api_key".to_owned(), Secret::new("canary query/1".to_owned())));
    request
}

/// Everything that stays on disk, bodies apart.
fn files(dir: &Path, found: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        found.push_str(&path.to_string_lossy());
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
        }
    }
}

#[tokio::test]
async fn canaries_reach_the_provider_and_nobody_else() {
    let echo = "https://next.example.org/?api_key=canary+query%2F1&page=2";
    let evil = EvilHttp::start([
        Route::new("/ok", [Answer::ok("body").header("link", &format!("<{echo}>; rel=\"next\""))]),
        Route::new("/refused", [Answer::status(403, "the key canary-header is not valid (canary query/1)")]),
        Route::new("/cut", [Answer::ok("body").announce(9)]),
        Route::new("/silent", [Answer::silent()]),
        Route::new("/moved", [Answer::redirect(302, "/ok?api_key=canary%20query/1")]),
        Route::new("/away", [Answer::redirect(302, "http://10.0.0.1/?api_key=canary+query%2F1")]),
    ])
    .await;
    let mut bench = Bench::new();
    bench.config.first_byte = std::time::Duration::from_millis(100);
    let mut shown = String::new();
    for target in ["/ok", "/refused", "/cut", "/silent", "/moved", "/away"] {
        let mut request = secret_request(&evil.url(target));
        request.resumable = target == "/cut";
        shown.push_str(&format!("{request:?}"));
        let outcome = bench.send(request).await;
        shown.push_str(&format!("{outcome:?}"));
        shown.push_str(&text(outcome));
    }
    let closed = secret_request("http://127.0.0.1:1/");
    let outcome = bench.send(closed).await;
    shown.push_str(&format!("{outcome:?}"));
    shown.push_str(&text(outcome));
    shown.push_str(&format!("{:?}{:?}", bench.sink, bench.stack()));
    files(bench.dir.path(), &mut shown);

    let asked = evil.asked();
    assert_eq!(asked[0].target, "/ok?api_key=canary+query%2F1");
    assert_eq!(asked[0].header("x-api-key"), Some("canary-header"));
    for secret in ["canary-header", "canary query", "canary+query", "canary%20query"] {
        assert!(!shown.contains(secret), "`{secret}` is shown: {shown}");
    }
    assert!(shown.contains("api_key=***"), "the link header is kept without its secret");
}
