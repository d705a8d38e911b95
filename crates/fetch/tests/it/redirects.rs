//! Redirects and addresses: bounded, checked at every hop, no secret for another host (`reliability.md` N12, S1–S7).

use hambar_fetch::{AllowHosts, Request, Secret};
use hambar_testkit::evil_http::{Answer, EvilHttp, Route};

use crate::support::{Bench, assert_body, get, text};

#[tokio::test]
async fn redirects_are_followed_up_to_a_limit() {
    let chain = |hops: usize| {
        (0..hops).map(|at| Route::new(&format!("/{at}"), [Answer::redirect(302, &format!("/{}", at + 1))]))
    };
    let end = Route::new("/5", [Answer::ok("end")]);
    let evil = EvilHttp::start(chain(5).chain([end])).await;
    let bench = Bench::new();
    let landed = assert_body(bench.send(get(&evil.url("/0"))).await, b"end");
    assert_eq!(landed.meta.url, evil.url("/0"));
    assert_eq!(landed.meta.final_url, evil.url("/5"));
    let statuses: Vec<_> = bench.sink.exchanges().iter().map(|meta| meta.status.unwrap()).collect();
    assert_eq!(statuses, [302, 302, 302, 302, 302, 200]);

    for routes in [chain(50).collect::<Vec<_>>(), vec![Route::new("/0", [Answer::redirect(301, "/0")])]] {
        let evil = EvilHttp::start(routes).await;
        let outcome = Bench::new().once_text(get(&evil.url("/0"))).await;
        assert_eq!(outcome, "`URL`: redirects of 5 hops reached");
        assert_eq!(evil.asked().len(), 6);
    }
}

#[tokio::test]
async fn another_host_sees_no_secret() {
    let other = EvilHttp::start([Route::new("/y", [Answer::ok("body")])]).await;
    let there = format!("{}?key=canary-query&page=2", other.url("/y"));
    let evil = EvilHttp::start([
        Route::new("/x", [Answer::redirect(307, &there)]),
        Route::new("/same", [Answer::redirect(308, "/end")]),
        Route::new("/end", [Answer::ok("end")]),
    ])
    .await;
    let request = |target: &str| {
        let mut request = get(&evil.url(target));
        request.secret_headers.push(("authorization".to_owned(), Secret::new("Bearer canary-header".to_owned())));
        request.secret_query.push(("key".to_owned(), Secret::new("canary-query".to_owned())));
        request.headers.push(("cookie".to_owned(), "canary-cookie".to_owned()));
        request
    };
    let bench = Bench::new();
    assert_body(bench.send(request("/x")).await, b"body");
    let seen = other.asked();
    assert_eq!(seen[0].target, "/y?page=2");
    assert!(!format!("{seen:?}").contains("canary"), "{seen:?}");
    assert_body(bench.send(request("/same")).await, b"end");
    let asked = evil.asked();
    assert_eq!(asked[0].target, "/x?key=canary-query");
    assert_eq!(asked[2].target, "/end");
    assert_eq!(asked[2].header("authorization"), Some("Bearer canary-header"));
    assert!(!format!("{:?}", bench.sink).contains("canary-query"), "{:?}", bench.sink);
    assert!(!format!("{:?}", bench.sink).contains("canary-header"), "{:?}", bench.sink);
}

#[tokio::test]
async fn private_addresses_are_refused_before_connecting_and_at_every_hop() {
    let evil = EvilHttp::start([
        Route::new("/literal", [Answer::redirect(302, "http://127.0.0.2/")]),
        Route::new("/metadata", [Answer::redirect(302, "http://169.254.169.254/latest/")]),
        Route::new("/file", [Answer::redirect(302, "file:///etc/passwd")]),
        Route::new("/user", [Answer::redirect(302, "http://a:b@127.0.0.1/")]),
        Route::new("/port", [Answer::redirect(302, "http://93.184.215.14:6379/")]),
    ])
    .await;
    let check = async |target: &str, expected: &str| {
        let outcome = text(Bench::new().send(get(&evil.url(target))).await);
        assert_eq!(outcome, expected);
    };
    check("/literal", "`http://127.0.0.2/` is not allowed: 127.0.0.2 is not a public address (loopback)").await;
    check(
        "/metadata",
        "`http://169.254.169.254/latest/` is not allowed: 169.254.169.254 is not a public address (link-local)",
    )
    .await;
    check("/file", "`file:///etc/passwd` is not allowed: scheme `file`; only http and https are asked").await;
    check("/user", "`http://***@127.0.0.1/` is not allowed: a user name or password in the URL").await;
    check("/port", "`http://93.184.215.14:6379/` is not allowed: port 6379; `fetch.allow_ports` has [80, 443]").await;
    assert_eq!(evil.asked().len(), 5, "refusals are not tried again");

    let mut bench = Bench::new();
    bench.config.allow_hosts = AllowHosts::default();
    bench.config.allow_ports = vec![evil.address().port()];
    let outcome = bench.once_text(get(&evil.url("/literal"))).await;
    assert_eq!(outcome, "`URL` is not allowed: 127.0.0.1 is not a public address (loopback)");
    // The name is refused after its addresses are known, before a connection is made.
    let by_name = bench.once_text(get(&evil.url_by_name("/literal"))).await;
    assert!(by_name.starts_with("`URL` is not allowed: "), "{by_name}");
    assert!(by_name.ends_with("is not a public address (loopback)"), "{by_name}");
    assert_eq!(evil.connections(), 5);
}

#[tokio::test]
async fn names_are_asked_when_they_are_allowed() {
    let evil = EvilHttp::start([Route::new("/x", [Answer::ok("body")])]).await;
    assert_body(Bench::new().send(get(&evil.url_by_name("/x"))).await, b"body");
    assert_eq!(evil.asked()[0].header("host"), Some(format!("localhost:{}", evil.address().port()).as_str()));
}

#[tokio::test]
async fn the_proxy_of_the_configuration_is_asked() {
    let proxy = EvilHttp::start([Route::new("http://data.example.org/x", [Answer::ok("by proxy")])]).await;
    let mut bench = Bench::new();
    bench.config.proxy = Some(proxy.url(""));
    assert_body(bench.send(get("http://data.example.org/x")).await, b"by proxy");
    assert_eq!(
        text(bench.send(get("http://10.0.0.1/x")).await),
        "`http://10.0.0.1/x` is not allowed: 10.0.0.1 is not a public address (private)"
    );
}

#[tokio::test]
async fn a_post_is_sent_with_its_body() {
    let evil = EvilHttp::start([
        Route::new("/query", [Answer::ok("rows")]),
        Route::new("/moved", [Answer::redirect(307, "/query")]),
    ])
    .await;
    let request = Request {
        method: http::Method::POST,
        body: Some(bytes::Bytes::from_static(b"{\"q\":1}")),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        ..get(&evil.url("/moved"))
    };
    assert_body(Bench::new().send(request).await, b"rows");
    let last = evil.asked().pop().unwrap();
    assert_eq!((last.method.as_str(), last.body.as_slice()), ("POST", b"{\"q\":1}".as_slice()));
    assert_eq!(last.header("content-type"), Some("application/json"));
    assert_eq!(
        last.header("user-agent"),
        Some(concat!("hambar/", env!("CARGO_PKG_VERSION"), " (+mailto:test@example.org)"))
    );
}
