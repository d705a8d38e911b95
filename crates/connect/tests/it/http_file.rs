//! Files: the change ladder, templates, manifests, and everything a file can be instead of data.

use std::sync::Arc;

use hambar_connect::conformance;
use hambar_core::Checkpoint;

use crate::memory::{Answer, Memory, build, run};

const FILE: &str = "kind = \"http_file\"\nurl = \"https://p.org/a.csv\"\n";
const URL: &str = "https://p.org/a.csv";

/// Runs twice and compares both.
async fn twice(source: &str, memory: &Arc<Memory>, first: &str, second: &str) {
    let source = build(source, "kind = \"csv\"");
    let mut done = Checkpoint::default();
    assert_eq!(run(source.as_ref(), memory, &mut done).await.trim_end(), first);
    memory.requests();
    assert_eq!(run(source.as_ref(), memory, &mut done).await.trim_end(), second, "{:?}", memory.requests());
}

#[tokio::test]
async fn validators_prove_unchanged_with_one_request() {
    let memory = Memory::new().on(URL, Answer::new("a\n1\n").header("etag", "W/\"1\"").header("content-length", "4"));
    twice(FILE, &memory, "page a 1\nend: content length 4", "unchanged: 304").await;
    let source = build(FILE, "kind = \"csv\"");
    let found = conformance::check(source.as_ref(), &memory.fetcher()).await.unwrap();
    assert_eq!((found.slices, found.unchanged), (1, vec![Some("304".to_owned())]));
}

#[tokio::test]
async fn content_decides_where_validators_are_missing_or_lie() {
    let memory = Memory::new().on(URL, Answer::new("a\n1\n"));
    twice(FILE, &memory, "page a 1\nend: 4 bytes, transfer ended properly", "unchanged: sha256").await;
    let memory = Memory::new()
        .on(URL, Answer::new("a\n1\n").header("etag", "\"1\""))
        .on(URL, Answer::new("a\n1\n").header("etag", "\"2\""));
    twice(FILE, &memory, "page a 1\nend: 4 bytes, transfer ended properly", "unchanged: sha256").await;
    let memory = Memory::new().on(URL, Answer::new("a\n1\n")).on(URL, Answer::new("a\n2\n"));
    let end = "end: 4 bytes, transfer ended properly";
    twice(FILE, &memory, &format!("page a 1\n{end}"), &format!("page a 2\n{end}")).await;
}

#[tokio::test]
async fn head_spares_the_download() {
    let answer =
        || Answer::new("a\n1\n").header("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT").header("content-length", "4");
    let memory = Memory::new().on(URL, answer()).on("HEAD https://p.org/a.csv", answer());
    twice(&format!("{FILE}probe = \"head\""), &memory, "page a 1\nend: content length 4", "unchanged: head").await;
    let memory = Memory::new()
        .on(URL, answer())
        .on(URL, Answer::new("a\n12\n"))
        .on("HEAD https://p.org/a.csv", Answer::new("").status(405));
    twice(
        &format!("{FILE}probe = \"head\""),
        &memory,
        "page a 1\nend: content length 4",
        "page a 12\nend: 5 bytes, transfer ended properly",
    )
    .await;
    let memory = Memory::new()
        .on(URL, Answer::new("a\n1\n"))
        .on("HEAD https://p.org/a.csv", Answer::new("").header("content-length", "4"));
    let source = format!("{FILE}probe = \"length\"");
    twice(&source, &memory, "page a 1\nend: 4 bytes, transfer ended properly", "unchanged: length").await;
}

#[tokio::test]
async fn what_is_no_data_is_never_published() {
    for (answer, expected) in [
        (
            Answer::new("<!DOCTYPE html><title>Busy</title>"),
            "data: answer of `https://p.org/a.csv`: the body is a web page (HTML), not data",
        ),
        (
            Answer::new("sorry").header("content-type", "text/html; charset=utf-8"),
            "data: answer of `https://p.org/a.csv`: the answer calls itself text/html, not data; set `source.ignore_content_type` if the label is wrong",
        ),
        (
            Answer::new(""),
            "incomplete: `https://p.org/a.csv` is incomplete: a file with data announced, an empty answer of 0 bytes received",
        ),
        (Answer::new("no").status(404), "refused: GET `https://p.org/a.csv`: `https://p.org/a.csv` answered 404: no"),
    ] {
        let memory = Memory::new().on(URL, answer);
        let source = build(FILE, "kind = \"csv\"");
        assert_eq!(run(source.as_ref(), &memory, &mut Checkpoint::default()).await.trim_end(), expected);
    }
    let memory = Memory::new().on(URL, Answer::new("a\n1\n")).on(URL, Answer::new(" \n"));
    twice(
        FILE,
        &memory,
        "page a 1\nend: 4 bytes, transfer ended properly",
        "incomplete: `https://p.org/a.csv` is incomplete: 1 rows in the last run announced, an empty answer of 2 bytes received",
    )
    .await;
    let labelled = Memory::new().on(URL, Answer::new("a\n1\n").header("content-type", "text/html"));
    let source = format!("{FILE}ignore_content_type = true");
    twice(&source, &labelled, "page a 1\nend: 4 bytes, transfer ended properly", "unchanged: sha256").await;
}

#[tokio::test]
async fn templates_give_one_slice_for_each_combination() {
    let source = "kind = \"http_file\"\nurl = \"https://p.org/{year}/{country}.csv\"\nmissing = \"skip\"\n\
        variables = { year = { from = 2023, to = 2024 }, country = [\"BG\", \"RO\"] }";
    let memory = Memory::new()
        .on("https://p.org/2023/BG.csv", Answer::new("a\n1\n"))
        .on("https://p.org/2023/RO.csv", Answer::new("gone").status(404))
        .on("https://p.org/2024/BG.csv", Answer::new("a\n3\n"))
        .on("https://p.org/2024/RO.csv", Answer::new("a\n4\n"));
    let end = "end: 4 bytes, transfer ended properly";
    let first = format!(
        "page country=BG year=2023 a 1\n{end}\npage country=BG year=2024 a 3\n{end}\nend: 404: the file is not there\npage country=RO year=2024 a 4\n{end}"
    );
    let second = "unchanged: sha256\nunchanged: sha256\nend: 404: the file is not there\nunchanged: sha256";
    twice(source, &memory, &first, second).await;
}

const LIST: &str = "kind = \"http_file\"\n[manifest]\nurl = \"https://p.org/list.txt\"\nformat = \"text\"\nsize = \"1\"\nmd5 = \"2\"\nlink = \"3\"\n";
const MD5: &str = "00000000000000000000000000000000";

fn md5(text: &str) -> String {
    use md5::Digest;
    md5::Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn manifests_are_verified_and_spare_requests() {
    let list = format!("4 {} https://p.org/1.csv\n4 {} https://p.org/2.csv\n", md5("a\n1\n"), md5("a\n2\n"));
    let longer = format!("{list}4 {} https://p.org/3.csv\n", md5("a\n3\n"));
    let script = || {
        Memory::new()
            .on("https://p.org/list.txt", Answer::new(list.clone()))
            .on("https://p.org/list.txt", Answer::new(longer.clone()))
            .on("https://p.org/1.csv", Answer::new("a\n1\n"))
            .on("https://p.org/2.csv", Answer::new("a\n2\n"))
            .on("https://p.org/3.csv", Answer::new("a\n3\n"))
    };
    let end = "end: 4 bytes, transfer ended properly, manifest size 4, manifest md5";
    let first = format!("page a 1\n{end}\npage a 2\n{end}");
    let memory = script();
    twice(LIST, &memory, &first, &format!("unchanged: catalogue date\nunchanged: catalogue date\npage a 3\n{end}"))
        .await;
    assert_eq!(memory.requests(), ["GET https://p.org/list.txt", "GET https://p.org/3.csv"]);
    twice(&format!("{LIST}entries = \"final\""), &script(), &first, &format!("page a 3\n{end}")).await;
}

#[tokio::test]
async fn files_that_differ_from_their_manifest_fail() {
    for (list, expected) in [
        (
            format!("5 {} https://p.org/1.csv", md5("a\n1\n")),
            "incomplete: `https://p.org/1.csv` is incomplete: 5 bytes by the manifest announced, 4 bytes received"
                .to_owned(),
        ),
        (
            format!("4 {MD5} https://p.org/1.csv"),
            format!(
                "incomplete: `https://p.org/1.csv` is incomplete: md5 {MD5} announced, md5 {} received",
                md5("a\n1\n")
            ),
        ),
        (
            "\n".to_owned(),
            "plan: data: answer of `https://p.org/list.txt`: the manifest lists no file that matches\n"
                .trim_end()
                .to_owned(),
        ),
    ] {
        let memory = Memory::new()
            .on("https://p.org/list.txt", Answer::new(list))
            .on("https://p.org/1.csv", Answer::new("a\n1\n"));
        let source = build(LIST, "kind = \"csv\"");
        assert_eq!(run(source.as_ref(), &memory, &mut Checkpoint::default()).await.trim_end(), expected);
    }
}

#[tokio::test]
async fn recorded_downloads_are_read() {
    let Some(memory) = Memory::recorded("http-files-recorded") else { return };
    let base = "https://raw.githubusercontent.com/frictionlessdata/";
    let source = format!(
        "kind = \"http_file\"\nurl = \"{base}{{file}}\"\n[variables]\nfile = [\"frictionless-py/master/data/latin1.csv\", \"tabulator-py/master/data/table.csv.zip\"]"
    );
    let source = build(&source, "kind = \"csv\"");
    let found = conformance::check(source.as_ref(), &memory.fetcher()).await.unwrap();
    assert_eq!(found.slices, 2);
    assert!(found.unchanged.iter().all(Option::is_some), "{found:?}");
}
