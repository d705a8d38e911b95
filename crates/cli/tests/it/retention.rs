//! `[retention]`: what goes, what stays and why, and what is refused.

use std::process::Stdio;
use std::time::SystemTime;

use crate::support::{Provider, Workshop, snapshot_of};

/// A table with three releases, whose raw bytes arrived years ago.
fn aged(retention: &str) -> (Workshop, Provider) {
    let (workshop, provider) = (Workshop::new(), Provider::start());
    declare(&workshop, &provider, "test.a", retention);
    for value in 1..=3 {
        provider.publish("/a.csv", &release(value));
        workshop.run("test.a");
    }
    age(&workshop);
    (workshop, provider)
}

fn release(value: u64) -> String {
    format!("id,value\n1,{value}\n2,{}\n", 10 * value)
}

fn declare(workshop: &Workshop, provider: &Provider, table: &str, retention: &str) {
    let text = snapshot_of(&provider.url("/a.csv"), &[("id", "int64"), ("value", "int64")], 1);
    workshop.pipeline(table, &format!("{text}\n[retention]\n{retention}\n"));
}

fn age(workshop: &Workshop) {
    let time = SystemTime::from("2020-01-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap());
    for file in workshop.files("store/raw/sha256") {
        std::fs::File::options().append(true).open(file).unwrap().set_modified(time).unwrap();
    }
}

fn bodies(workshop: &Workshop) -> usize {
    let files = workshop.files("store/raw/sha256");
    let records = files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "json")).count();
    assert_eq!(files.len(), 2 * records, "every body has its record: {files:?}");
    records
}

fn vacuum(workshop: &Workshop, arguments: &[&str]) -> String {
    let arguments: Vec<&str> = ["vacuum"].iter().chain(arguments).copied().collect();
    workshop.hambar(&arguments).ok()
}

#[test]
fn raw_bytes_that_a_rebuild_needs_stay_until_it_is_given_up() {
    let (workshop, provider) = aged("raw_days = 7");
    for said in [vacuum(&workshop, &["--dry-run"]), vacuum(&workshop, &[])] {
        assert!(said.contains("raw: 2 kept: `hambar rebuild` needs it"), "{said}");
        assert!(said.contains("raw: 1 kept: the newest release was made from it"), "{said}");
    }
    assert_eq!(bodies(&workshop), 3);
    workshop.hambar(&["rebuild", "test.a"]).ok();
    declare(&workshop, &provider, "test.a", "raw_days = 7\nmay_break_rebuild = true");
    workshop.hambar(&["cite", "test.a@1"]).ok();
    let said = vacuum(&workshop, &["--dry-run"]);
    assert!(said.contains("raw: 1 body would go"), "{said}");
    assert!(said.contains(": arrived 2020-01-01T00:00:00Z, kept for 7 days, and nothing needs it"), "{said}");
    assert!(said.contains("raw: 1 kept: a cited version was made from it"), "{said}");
    assert_eq!(bodies(&workshop), 3, "a dry run removes nothing");
    // With a name only the files of that table are looked at: raw bytes are shared.
    assert!(!vacuum(&workshop, &["test.a"]).contains("raw:"));
    assert!(vacuum(&workshop, &[]).contains("raw: 1 body removed"));
    assert_eq!(bodies(&workshop), 2);
    assert!(vacuum(&workshop, &[]).contains("raw: 0 bodies removed"), "nothing is left to do");
    workshop.hambar(&["replay", "test.a"]).ok();
    assert!(workshop.run("test.a").contains("unchanged"));
    assert_eq!(workshop.rows("SELECT value FROM test.a VERSION AS OF 1"), ["1", "10"]);
    assert_eq!(workshop.rows("SELECT old_value FROM revisions('test.a')").len(), 4);
    workshop.fsck();
    let refused = workshop.hambar(&["rebuild", "test.a"]);
    assert_ne!(refused.code(), Some(0));
    assert!(
        refused.stderr.contains("hint: raw bytes are removed by `hambar vacuum` where `retention.raw_days`"),
        "{}",
        refused.stderr
    );
}

#[test]
fn bytes_of_others_and_young_bytes_stay() {
    let (workshop, provider) = aged("raw_days = 7\nmay_break_rebuild = true");
    // The same bytes, for a table that declares nothing.
    declare(&workshop, &provider, "test.b", "");
    workshop.run("test.b");
    provider.publish("/a.csv", &release(4));
    workshop.run("test.a");
    let said = vacuum(&workshop, &[]);
    assert!(said.contains("raw: 2 bodies removed"), "{said}");
    assert!(said.contains("raw: 2 kept: the newest release was made from it"), "test.a and test.b: {said}");
    // A run that failed leaves bytes that no commit names: they go by their age.
    provider.publish("/a.csv", "id,value\nnonsense,1\n");
    workshop.write("pipelines/test/a.toml", &{
        let text = std::fs::read_to_string(workshop.path().join("pipelines/test/a.toml")).unwrap();
        text.replace("[write]", "[write]\nrejects_max = 0")
    });
    assert_ne!(workshop.hambar(&["run", "test.a"]).code(), Some(0));
    assert_eq!(bodies(&workshop), 3);
    let said = vacuum(&workshop, &[]);
    assert!(said.contains("raw: 1 kept: it is younger than its `retention.raw_days`"), "{said}");
    age(&workshop);
    assert!(vacuum(&workshop, &[]).contains("raw: 1 body removed"));
    provider.publish("/a.csv", &release(5));
    workshop.run("test.a");
    workshop.fsck();
}

#[test]
fn wrong_retentions_are_refused() {
    let (workshop, provider) = (Workshop::new(), Provider::start());
    declare(&workshop, &provider, "test.a", "raw_days = 3\nhistory_days = 6\nversion_days = 0");
    let text = ["`raw_days` of 3 is too short", "`history_days` of 6", "`version_days` of 0", "at least 7"];
    workshop.hambar(&["check"]).fails(2, &text);
    // A pipeline that cannot be read may be the one that keeps something.
    workshop.hambar(&["vacuum"]).fails(2, &["`raw_days` of 3 is too short"]);
    declare(&workshop, &provider, "test.a", "");
    provider.publish("/a.csv", &release(1));
    workshop.run("test.a");
    workshop.hambar(&["vacuum", "--retention-days", "6"]).fails(16, &["shortest retention of 7 days"]);
}

#[test]
fn the_longer_of_two_retentions_holds() {
    let (workshop, provider) = (Workshop::new(), Provider::start());
    provider.publish("/a.csv", &release(1));
    for (declared, asked, expected) in [
        ("", None, 30),
        ("version_days = 90", None, 90),
        ("version_days = 90", Some("7"), 90),
        ("version_days = 8", Some("400"), 400),
    ] {
        declare(&workshop, &provider, "test.a", declared);
        workshop.run("test.a");
        let arguments: Vec<&str> = asked.iter().flat_map(|days| ["--retention-days", *days]).collect();
        let said = vacuum(&workshop, &arguments);
        for table in ["test.a", "test.a__history"] {
            let line = said.lines().find(|line| line.starts_with(&format!("{table}: "))).unwrap();
            assert!(line.ends_with(&format!("versions are kept for {expected} days")), "{line}");
        }
    }
}

#[test]
fn two_vacuums_at_once_remove_what_one_would() {
    let (workshop, _provider) = aged("raw_days = 7\nmay_break_rebuild = true");
    let start = || {
        let mut command = workshop.command(&["vacuum"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let running = [start(), start()];
    for child in running {
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        match ended.status.code() {
            Some(0) => {}
            code => {
                assert_eq!(code, Some(17), "{said}");
                assert!(said.contains("is held by hambar vacuum"), "{said}");
            }
        }
    }
    vacuum(&workshop, &[]);
    assert_eq!(bodies(&workshop), 1);
    assert_eq!(workshop.rows("SELECT value FROM test.a"), ["3", "30"]);
    workshop.fsck();
    workshop.hambar(&["replay", "test.a"]).ok();
}
