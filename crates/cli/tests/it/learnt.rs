//! A provider whose bytes change while its rows do not: nothing is written to the table, and the new bytes come once.

use std::os::unix::process::ExitStatusExt;

use hambar_run::UNCHANGED_FAULT_POINTS;
use hambar_testkit::evil_http::Answer;

use crate::support::{Provider, Ran, Workshop, snapshot_of};

const TABLE: &str = "test.learnt";

fn publish(provider: &Provider, tag: &str, text: &str) {
    let answer = Answer::ok(text.to_owned()).header("content-type", "text/csv").header("etag", tag);
    provider.offer("/learnt.csv", answer.conditional());
}

/// The validators that runs asked with, oldest first.
fn asked(provider: &Provider) -> Vec<String> {
    let requests = provider.server().asked();
    let tag = |asked: &hambar_testkit::evil_http::Asked| asked.header("if-none-match").unwrap_or("-").to_owned();
    requests.iter().filter(|asked| asked.method == "GET").map(tag).collect()
}

fn versions(workshop: &Workshop) -> usize {
    let log = workshop.files("store/tables/test/learnt/_delta_log");
    log.iter().filter(|path| path.extension().is_some_and(|extension| extension == "json")).count()
}

#[test]
fn other_bytes_of_the_same_rows_come_once() {
    for point in [None].into_iter().chain(UNCHANGED_FAULT_POINTS.map(Some)) {
        let (workshop, provider) = (Workshop::new(), Provider::start());
        workshop.pipeline(TABLE, &snapshot_of(&provider.url("/learnt.csv"), &[("id", "int64"), ("v", "string")], 1));
        publish(&provider, "\"one\"", "id,v\n1,a\n2,b\n");
        workshop.run(TABLE);
        let before = versions(&workshop);
        publish(&provider, "\"two\"", "id,v\n2,b\n1,a\n");
        if let Some(point) = point {
            let mut command = workshop.command(&["run", TABLE]);
            let ran = Ran::of(command.env("HAMBAR_FAULT_POINT", point));
            assert_eq!(ran.output.status.signal(), Some(6), "{point}: {}{}", ran.stdout, ran.stderr);
        }
        for _ in 0..3 {
            let said = workshop.run(TABLE);
            assert!(said.contains("unchanged"), "{point:?}: {said}");
        }
        assert_eq!(versions(&workshop), before, "{point:?}: no version for what changed nothing");
        let asked = asked(&provider);
        let expected: &[&str] = match point {
            None => &["-", "\"one\"", "\"two\"", "\"two\""],
            Some("before_verified") => &["-", "\"one\"", "\"one\"", "\"two\"", "\"two\""],
            Some(_) => &["-", "\"one\"", "\"two\"", "\"two\"", "\"two\""],
        };
        assert_eq!(asked, expected, "{point:?}");
        let evidence = workshop.value("SELECT evidence FROM system.runs ORDER BY started_at DESC LIMIT 1");
        assert!(evidence.contains("304"), "{evidence}");
        workshop.fsck();
    }
}
