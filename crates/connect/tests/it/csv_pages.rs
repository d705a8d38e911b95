//! Paged interfaces whose pages are CSV, each with its header.

use hambar_core::Checkpoint;

use crate::memory::{Answer, Memory, Secrets, build, job, run};

const X: &str = "https://p.org/x";

async fn check(more: &str, memory: &std::sync::Arc<Memory>, expected: &str) {
    let built = build(&format!("kind = \"rest_json\"\nurl = \"{X}\"\n{more}"), "kind = \"csv\"");
    let found = run(built.as_ref(), memory, &mut Checkpoint::default()).await;
    assert_eq!(found.trim_end(), expected, "requests: {:#?}", memory.requests());
}

#[tokio::test]
async fn pages_of_csv_follow_each_other_and_are_counted() {
    let offset = "[pagination]\nstyle = \"offset_limit\"\nlimit = 2";
    let page = |offset: u64| format!("{X}?offset={offset}&limit=2");
    let memory =
        Memory::new().on(&page(0), Answer::new("id,a\n1,\"x\ny\"\n2,z\n")).on(&page(2), Answer::new("id,a\n3,w\n"));
    let expected = "page 2 records: id,a 1,\"x y\" 2,z\npage 1 records: id,a 3,w\nend: short last page (1 of 2), 3 records in 2 pages";
    check(offset, &memory, expected).await;
    // The total is in a header, and the pages stop short of it.
    let total = format!("{offset}\n[complete]\ntotal_header = \"X-Total-Count\"");
    let part = |body: &str| Answer::new(body).header("x-total-count", "3");
    let memory = Memory::new().on(&page(0), part("id,a\n1,x\n2,z\n")).on(&page(2), part("id,a\n"));
    let told = format!(
        "page 2 records: id,a 1,x 2,z\nincomplete: `{X}` is incomplete: 3 records announced, 2 records in 2 pages received"
    );
    check(&total, &memory, &told).await;
    // A page that comes again is a loop, whatever its number.
    let memory = Memory::new().on(&page(0), Answer::new("id\n1\n2\n")).on(&page(2), Answer::new("id\n1\n2\n"));
    let told = format!(
        "page 2 records: id 1 2\nincomplete: `{}`: page 2 repeats: its 2 records are those of an earlier page",
        page(2)
    );
    check(offset, &memory, &told).await;
}

#[tokio::test]
async fn links_and_keys_lead_through_csv() {
    let next = "<https://p.org/x?after=2>; rel=\"next\"";
    let memory = Memory::new()
        .on(X, Answer::new("id\n1\n2\n").header("link", next))
        .on("https://p.org/x?after=2", Answer::new("id\n3\n"));
    let expected =
        "page 2 records: id 1 2\npage 1 records: id 3\nend: no `rel=next` in the Link header, 3 records in 2 pages";
    check("[pagination]\nstyle = \"link_header\"", &memory, expected).await;
    let keyset = "[pagination]\nstyle = \"keyset\"\nparameter = \"after\"\nkey = \"/id\"\nsize = 2";
    let memory =
        Memory::new().on(X, Answer::new("id,a\n9,x\n10,y\n")).on("https://p.org/x?after=10", Answer::new("id,a\n"));
    check(keyset, &memory, "page 2 records: id,a 9,x 10,y\nend: empty last page, 2 records in 2 pages").await;
    let memory = Memory::new().on(X, Answer::new("a\nx\ny\n"));
    check(keyset, &memory, &format!("data: answer of `{X}`: no column `id`")).await;
}

#[tokio::test]
async fn what_is_no_csv_is_refused_and_unchanged_pages_are_known() {
    let page = "<!doctype html><title>Sorry</title>";
    let memory = Memory::new().on(X, Answer::new(page));
    check("", &memory, &format!("data: answer of `{X}`: the body is a web page (HTML), not CSV, twice")).await;
    let built = build(&format!("kind = \"rest_json\"\nurl = \"{X}\""), "kind = \"csv\"");
    let memory =
        Memory::new().on(X, Answer::new("id\n1\n")).on(X, Answer::new("id\r\n1\r\n")).on(X, Answer::new("id\n2\n"));
    let mut done = Checkpoint::default();
    run(built.as_ref(), &memory, &mut done).await;
    assert_eq!(run(built.as_ref(), &memory, &mut done).await, "unchanged: sha256\n");
    assert!(run(built.as_ref(), &memory, &mut done).await.starts_with("page 1 records: id 2\n"));
}

#[test]
fn what_looks_into_json_is_refused_for_csv() {
    for (more, format, expected) in [
        ("record_path = \"/r\"", "", "setting `source.record_path`: pages that are CSV have no record path"),
        (
            "[complete]\ntotal = \"/t\"",
            "",
            "setting `source.complete`: `/t` is a place in a JSON body, and pages are CSV: use headers",
        ),
        (
            "",
            "footer_lines = 1",
            "setting `source.kind`: pages that are CSV have no footer: leave out `format.footer_lines` and `format.footer_pattern`",
        ),
    ] {
        let spec: hambar_connect::SourceSpec =
            toml::from_str(&format!("kind = \"rest_json\"\nurl = \"{X}\"\n{more}")).unwrap();
        let job = job(&format!("kind = \"csv\"\n{format}"));
        let clock = std::sync::Arc::new(crate::memory::Fixed);
        let error = spec.build(&Secrets, &"t.t".parse().unwrap(), job, clock).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
