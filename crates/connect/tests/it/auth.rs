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
