//! Where the settings of traces come from, and the runs of schedules, which are traced as requests are.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::collector::{Collector, Manner};
use super::{STATEMENT, Served};
use crate::support::{Provider, Workshop, snapshot_of};

#[test]
fn the_variables_of_opentelemetry_are_shown_without_what_is_secret() {
    let workshop = Workshop::new();
    let mut command = workshop.command(&["config", "--format", "csv"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318").env("OTEL_SERVICE_NAME", "centre");
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2").env("OTEL_TRACES_SAMPLER", "always_off");
    command.env("HAMBAR_TELEMETRY__SERVICE_NAME", "own");
    let said = crate::support::Ran::of(&mut command).ok();
    let line =
        |key: &str| said.lines().find(|line| line.starts_with(&format!("{key},"))).unwrap_or_else(|| panic!("{said}"));
    let endpoint = line("telemetry.endpoint");
    assert!(endpoint.contains("http://collector:4318/v1/traces") && endpoint.ends_with(",OTEL_EXPORTER_OTLP_ENDPOINT"));
    assert!(line("telemetry.headers").contains("OTEL_EXPORTER_OTLP_HEADERS"), "{said}");
    assert!(line("telemetry.service_name").ends_with("HAMBAR_TELEMETRY__SERVICE_NAME"), "{said}");
    assert!(line("telemetry.sample_ratio").ends_with("0.0,OTEL_TRACES_SAMPLER"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn without_a_collector_nothing_is_traced_or_told() {
    let served = Served::start("");
    let parent = super::parent("01");
    let answer = served.get_as(Some(&served.token), "/api/tables", &[("traceparent", &parent)]).ok();
    assert!(answer.header("traceresponse").is_none());
    served.sql(STATEMENT).ok();
    let problem = served.sql("SELECT nothing");
    assert!(problem.json().get("trace").is_none(), "{}", problem.text());
    assert!(!served.get("/metrics").ok().text().contains("trace_spans") && !served.log().contains("trace="));
}

#[test]
fn a_scheduled_run_is_a_trace() {
    let collector = Collector::start(Manner::Takes);
    let (workshop, provider) = (Workshop::new(), Provider::start());
    provider.publish("/a.csv", "id,value\n1,2\n");
    for (table, target) in [("t.right", "/a.csv"), ("t.wrong", "/none.csv")] {
        let text = snapshot_of(&provider.url(target), &[("id", "int64"), ("value", "int64")], 1);
        // Once a year, so that only the first run is due.
        workshop.pipeline(table, &text.replacen("[origin]", "[schedule]\ncron = \"0 0 1 1 *\"\n[origin]", 1));
    }
    let known = std::fs::read_to_string(workshop.path().join("hambar.toml")).unwrap();
    let schedule =
        "[schedule]\nlook_seconds = 1\nper_host_max = 9\n[schedule.upkeep]\noptimize = \"\"\nvacuum = \"\"\n";
    workshop.write("hambar.toml", &format!("{known}\n{schedule}\n{}", collector.settings()));
    let mut command = workshop.command(&["schedule"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let since = Instant::now();
    while collector.seen().iter().filter(|span| span.name == "scheduled run").count() < 2 {
        assert!(since.elapsed() < Duration::from_secs(120), "{:#?}", collector.seen());
        std::thread::sleep(Duration::from_millis(100));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let run = |pipeline: &str| {
        let tree = collector.trace(|span| span.get("hambar.pipeline") == Some(pipeline));
        assert_eq!((tree.root.kind, tree.spans.len(), tree.root.parent.as_str()), (1, 1, ""));
        assert!(tree.root.to - tree.root.from > 1_000_000, "{:?}", tree.root);
        let id = tree.root.get("hambar.run").unwrap().to_owned();
        let recorded = workshop.value(&format!("SELECT outcome FROM system.runs WHERE run = '{id}'"));
        assert_eq!(tree.root.get("hambar.outcome"), Some(recorded.as_str()));
        tree.root
    };
    let right = run("t.right");
    assert!(!right.has_failed && right.get("error.type").is_none(), "{right:?}");
    let wrong = run("t.wrong");
    assert!(wrong.has_failed && wrong.get("error.type").is_some(), "{wrong:?}");
}
