//! What is sent to say who asks, and that no secret gets anywhere else.

use hambar_core::Checkpoint;

use crate::memory::{Answer, Memory, build, run};

async fn sent(auth: &str, memory: std::sync::Arc<Memory>) -> (String, Vec<String>) {
    let source = format!("kind = \"rest_json\"\nurl = \"https://p.org/x?key=old\"\n[auth]\n{auth}");
    let built = build(&source, "kind = \"json\"");
    let shown = format!("{built:?}");
    assert!(!shown.contains("secret-of-"), "{shown}");
    let told = run(built.as_ref(), &memory, &mut Checkpoint::default()).await;
    (told, memory.requests())
}

#[tokio::test]
async fn each_kind_is_sent_its_way() {
    let url = "https://p.org/x?key=old";
    for (auth, expected) in [
        ("kind = \"none\"", format!("GET {url}")),
        (
            "kind = \"query\"\nparameter = \"key\"\nsecret = { env = \"K\" }",
            "GET https://p.org/x [?key=secret-of-K]".to_owned(),
        ),
        (
            "kind = \"header\"\nheader = \"X-API-Key\"\nsecret = { env = \"K\" }",
            format!("GET {url} [x-api-key: secret-of-K]"),
        ),
        ("kind = \"bearer\"\nsecret = { env = \"K\" }", format!("GET {url} [authorization: Bearer secret-of-K]")),
        // base64 of `me:secret-of-K`
        (
            "kind = \"basic\"\nuser = \"me\"\nsecret = { env = \"K\" }",
            format!("GET {url} [authorization: Basic bWU6c2VjcmV0LW9mLUs=]"),
        ),
    ] {
        let memory = Memory::new().json(url, "[]").json("https://p.org/x", "[]");
        let (told, requests) = sent(auth, memory).await;
        assert_eq!((told.trim_end(), requests), ("end: one answer, 0 records in 1 pages", vec![expected]));
    }
}

const LOGIN: &str = "kind = \"login\"\nurl = \"https://p.org/login\"\nfields = { user = \"me\", password = { env = \"P\" } }\ntoken = \"/access\"";

#[tokio::test]
async fn a_token_is_fetched_and_renewed_once() {
    let login = "POST https://p.org/login {\"password\":\"secret-of-P\",\"user\":\"me\"}";
    let memory = Memory::new()
        .json(login, r#"{"access":"t1"}"#)
        .json(login, r#"{"access":"t2"}"#)
        .on("https://p.org/x?key=old", Answer::new("expired").status(401))
        .json("https://p.org/x?key=old", "[]");
    let (told, requests) = sent(LOGIN, memory).await;
    assert_eq!(told.trim_end(), "end: one answer, 0 records in 1 pages");
    let get = "GET https://p.org/x?key=old [authorization: Bearer ";
    assert_eq!(requests, [login.to_owned(), format!("{get}t1]"), login.to_owned(), format!("{get}t2]")]);
    let refused =
        Memory::new().json(login, r#"{"access":"t1"}"#).on("https://p.org/x?key=old", Answer::new("no").status(401));
    let (told, requests) = sent(LOGIN, refused).await;
    assert!(told.starts_with("refused: GET `https://p.org/x?key=old`"), "{told}");
    assert_eq!(requests.len(), 4);
    let tokenless = Memory::new().json(login, "{}");
    let (told, _) = sent(LOGIN, tokenless).await;
    assert_eq!(told.trim_end(), "data: answer of `https://p.org/login`: no token at `/access`");
}

const OAUTH: &str = "kind = \"oauth2\"\ntoken_url = \"https://p.org/token\"\nclient_id = \"me\"\nclient_secret = { env = \"C\" }\nscope = \"read all\"";

#[tokio::test]
async fn client_credentials_bring_a_token_that_is_renewed_after_a_refusal() {
    // base64 of `me:secret-of-C`
    let ask = "POST https://p.org/token grant_type=client_credentials&scope=read+all";
    let asked = format!("{ask} [authorization: Basic bWU6c2VjcmV0LW9mLUM=]");
    let url = "https://p.org/x?key=old";
    let memory = Memory::new()
        .json(ask, r#"{"access_token":"t1","token_type":"bearer","expires_in":3600}"#)
        .json(ask, r#"{"access_token":"t2","token_type":"Bearer"}"#)
        .on(url, Answer::new("revoked").status(401))
        .json(url, "[]");
    let (told, requests) = sent(OAUTH, memory).await;
    assert_eq!(told.trim_end(), "end: one answer, 0 records in 1 pages");
    let get = |token: &str| format!("GET {url} [authorization: Bearer {token}]");
    assert_eq!(requests, [asked.clone(), get("t1"), asked.clone(), get("t2")]);
}

#[tokio::test]
async fn a_token_serves_many_pages_until_it_ends() {
    let ask = "POST https://p.org/token grant_type=client_credentials";
    let source = |kind: &str| {
        format!(
            "kind = \"rest_json\"\nurl = \"https://p.org/x\"\n[pagination]\nstyle = \"page_number\"\nsize = 1\n\
             [auth]\nkind = \"oauth2\"\ntoken_url = \"https://p.org/token\"\nclient_id = \"me\"\nclient_secret = {{ env = \"C\" }}\n{kind}"
        )
    };
    let pages = |memory: std::sync::Arc<Memory>| {
        memory
            .json("https://p.org/x?page=1", r#"[{"a":1}]"#)
            .json("https://p.org/x?page=2", r#"[{"a":2}]"#)
            .json("https://p.org/x?page=3", "[]")
    };
    for (lifetime, asks) in [("3600", 1), ("0", 3)] {
        let memory = pages(Memory::new().json(ask, &format!("{{\"access_token\":\"t\",\"expires_in\":{lifetime}}}")));
        run(build(&source(""), "kind = \"json\"").as_ref(), &memory, &mut Checkpoint::default()).await;
        let found = memory.requests().iter().filter(|request| request.starts_with("POST")).count();
        assert_eq!(found, asks, "expires_in {lifetime}");
    }
    // A refresh token that is replaced with each use.
    let refresh = |token: &str| {
        format!(
            "POST https://p.org/token grant_type=refresh_token&refresh_token={token}&client_id=me&client_secret=secret-of-C"
        )
    };
    let mut memory = pages(Memory::new());
    for (old, new) in [("secret-of-R", "r1"), ("r1", "r2"), ("r2", "r3")] {
        let answer = format!("{{\"access_token\":\"t\",\"expires_in\":0,\"refresh_token\":\"{new}\"}}");
        memory = memory.json(&refresh(old), &answer);
    }
    let section = source("client_auth = \"form\"\nrefresh_token = { env = \"R\" }");
    let told = run(build(&section, "kind = \"json\"").as_ref(), &memory, &mut Checkpoint::default()).await;
    assert!(told.ends_with("end: empty last page, 2 records in 3 pages\n"), "{told}");
}

#[tokio::test]
async fn a_refused_client_is_told_without_its_secret() {
    let ask = "POST https://p.org/token grant_type=client_credentials&scope=read+all";
    let echo = r#"{"error":"invalid_client","error_description":"secret-of-C is wrong"}"#;
    let strange = r#"{"error":"secret-of-C"}"#;
    for (answer, expected) in [
        (Answer::new(echo).status(401), "refused: `https://p.org/token` reports invalid_client: no token was given"),
        (
            Answer::new(strange).status(400),
            "refused: `https://p.org/token` reports an error that is not shown: no token was given",
        ),
        (Answer::new("{}"), "data: answer of `https://p.org/token`: no token at `/access_token`"),
        (
            Answer::new(r#"{"access_token":"t","token_type":"mac"}"#),
            "data: answer of `https://p.org/token`: the token's type is not `Bearer`",
        ),
    ] {
        let (told, requests) = sent(OAUTH, Memory::new().on(ask, answer)).await;
        assert_eq!((told.trim_end(), requests.len()), (expected, 1));
    }
}
