//! Collectors and callers that are up to no good, or nowhere.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::collector::{Collector, Manner};
use super::{SPAN, STATEMENT, TRACE, parent, traced};
use crate::serve::Served;

/// As long as a request may take on a busy machine, and far less than ten attempts at a collector that sleeps.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(4);

fn metric(served: &Served, name: &str) -> u64 {
    let text = served.get("/metrics").ok().text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

/// Waits until spans were lost; returns how many.
#[track_caller]
fn lost(served: &Served) -> u64 {
    let since = Instant::now();
    loop {
        match metric(served, "hambar_trace_spans_lost_total") {
            0 => assert!(since.elapsed() < Duration::from_secs(30), "none is lost\n{}", served.log()),
            lost => return lost,
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn no_collector_slows_or_stops_a_request() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let other = Collector::start(Manner::Takes);
    for (manner, cause) in [
        (None, "connection to"),
        (Some(Manner::Sleeps), "did not answer within 0.5 s"),
        (Some(Manner::Babbles), "not one of OTLP"),
        (Some(Manner::Mumbles), "not HTTP"),
        (Some(Manner::Redirects(other.address)), "307, and redirects are not followed"),
        (Some(Manner::Picks), "only a part: one too many\\\\n"),
    ] {
        let collector = manner.map(Collector::start);
        let settings = match &collector {
            Some(collector) => collector.settings(),
            None => other.settings().replace(&other.address.to_string(), &closed.to_string()),
        };
        // A queue that one request overfills.
        let small = "queue_spans_max = 4\nbatch_spans_max = 4\n";
        let mut served = Served::start(&format!("{settings}{small}"));
        for _ in 0..10 {
            let since = Instant::now();
            served.sql(STATEMENT).ok();
            assert!(since.elapsed() < REQUEST_TIME_MAX, "{manner:?}: {:?}", since.elapsed());
        }
        assert!(lost(&served) > 0);
        let since = Instant::now();
        while !served.log().contains("traces were lost") {
            assert!(since.elapsed() < Duration::from_secs(30), "{manner:?}: {}", served.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = served.log();
        let warnings: Vec<&str> = log.lines().filter(|line| line.contains("traces were lost")).collect();
        assert_eq!(warnings.len(), 1, "{manner:?}: {warnings:?}");
        let warning = warnings[0];
        let named = warning.contains("/v1/traces") && !warning.contains("hidden");
        // The queue may have been full before the first message failed.
        assert!(named && (warning.contains(cause) || warning.contains("more of them")), "{manner:?}: {warning}");
        let since = Instant::now();
        assert!(served.stop().success());
        assert!(since.elapsed() < Duration::from_secs(20), "{manner:?}: {:?}", since.elapsed());
    }
    assert!(other.came().is_empty(), "somebody followed the redirect");
}

#[test]
fn a_collector_that_asks_for_patience_gets_everything() {
    let collector = Collector::start(Manner::Hesitates);
    let served = Served::start(&collector.settings());
    served.sql(STATEMENT).ok();
    let since = Instant::now();
    while metric(&served, "hambar_trace_spans_sent_total") < 7 {
        assert!(since.elapsed() < Duration::from_secs(30), "{}", served.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let came = collector.came();
    assert_eq!(came[0].body, came[1].body, "the same message is sent again");
    assert_eq!(metric(&served, "hambar_trace_spans_lost_total"), 0);
    assert!(!served.log().contains("traces were lost"));
}

#[test]
fn what_is_left_is_sent_when_the_server_stops() {
    let collector = Collector::start(Manner::Takes);
    let mut served = Served::start(&collector.settings().replace("every_seconds = 0.1", "every_seconds = 3600"));
    served.sql(STATEMENT).ok();
    std::thread::sleep(Duration::from_millis(500));
    assert!(collector.came().is_empty());
    assert!(served.stop().success());
    let tree = collector.trace(|span| span.name == "POST /api/sql");
    tree.is_whole();
    tree.ran(&tree.root);
}

#[test]
fn strangers_decide_nothing_and_members_do() {
    let (collector, served) = traced("sample_ratio = 0\n", &["--anonymous"]);
    let target = "/api/tables";
    let (asked, not_asked) = (parent("01"), parent("00"));
    for _ in 0..20 {
        let answer = served.get_as(None, target, &[("traceparent", &asked)]).ok();
        assert!(answer.header("traceresponse").unwrap().ends_with("-00"), "{answer:?}");
    }
    served.get_as(Some("hbr_wrong"), target, &[("traceparent", &asked)]).fails(401, "denied");
    served.get(target).ok();
    served.get_as(Some(&served.token), target, &[("traceparent", &not_asked)]).ok();
    let mine = parent("01").replace(SPAN, "1234567890abcdef");
    let answer = served.get_as(Some(&served.token), target, &[("traceparent", &mine)]).ok();
    assert!(answer.header("traceresponse").unwrap().ends_with("-01"));
    let tree = collector.trace(|span| span.parent == "1234567890abcdef");
    assert_eq!((tree.root.trace.as_str(), tree.root.name.as_str()), (TRACE, "GET /api/tables"));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(collector.seen().len(), tree.spans.len(), "{:#?}", collector.seen());
}

#[test]
fn strangers_do_not_hide_and_nobody_is_believed_where_the_settings_say_so() {
    let (collector, served) = traced("parents = \"nobody\"\n", &["--anonymous"]);
    for token in [None, Some(served.token.as_str())] {
        served.get_as(token, "/api/tables", &[("traceparent", &parent("00"))]).ok();
    }
    let since = Instant::now();
    while collector.seen().iter().filter(|span| span.parent == SPAN).count() < 2 {
        assert!(since.elapsed() < Duration::from_secs(30), "{:#?}", collector.seen());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn callers_who_break_the_rules_get_a_trace_of_their_own() {
    let (collector, served) = traced("", &[]);
    let long = format!("{}{}", parent("01"), "x".repeat(8_000));
    let wrong = [
        "",
        "x",
        "00-0-0-01",
        long.as_str(),
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ];
    for text in wrong {
        let headers = [("traceparent", text), ("tracestate", "a=1")];
        let answer = served.get_as(Some(&served.token), "/api/tables", &headers).ok();
        let told = answer.header("traceresponse").unwrap().to_owned();
        let tree = collector.trace(|span| span.trace == told[3..35] && span.kind == 2);
        assert!(tree.root.parent.is_empty() && tree.root.trace != TRACE && tree.root.state.is_empty(), "{text}");
    }
    let twice = [("traceparent", parent("01")), ("traceparent", parent("01"))];
    let twice: Vec<(&str, &str)> = twice.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = served.get_as(Some(&served.token), "/api/tables", &twice).ok();
    assert!(!answer.header("traceresponse").unwrap().contains(TRACE));
    // A state that breaks the rules is left out; the parent stays.
    let sent = parent("01");
    let state = format!("a={}", "x".repeat(4_000));
    served.get_as(Some(&served.token), "/api/tables", &[("traceparent", &sent), ("tracestate", &state)]).ok();
    let tree = collector.trace(|span| span.parent == SPAN);
    assert!(tree.root.state.is_empty());
}
