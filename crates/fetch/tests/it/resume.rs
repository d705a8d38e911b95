//! Interrupted downloads go on from their last byte, or start again, and are never joined wrongly
//! (`reliability.md` N4, N9).

use std::time::Duration;

use hambar_fetch::{Fetched, Request};
use hambar_testkit::evil_http::{Answer, Asked, Cut, EvilHttp, Ranges, Route};

use crate::support::{Bench, Sink, assert_body, gzip, noise, resumable, text};

fn whole(body: &[u8]) -> Answer {
    Answer::ok(body.to_vec()).header("etag", "\"v1\"").header("accept-ranges", "bytes").ranges(Ranges::Honoured)
}

/// The ranges that were asked for; `-` where the whole was.
fn ranges(asked: &[Asked]) -> Vec<String> {
    asked.iter().map(|one| one.header("range").unwrap_or("-").to_owned()).collect()
}

/// Sends the resumable request through the stack and says which ranges were asked for.
async fn check(answers: Vec<Answer>, body: &[u8], expected_ranges: &[&str]) {
    let evil = EvilHttp::start([Route::new("/big", answers)]).await;
    let bench = Bench::new();
    assert_body(bench.send(resumable(&evil.url("/big"))).await, body);
    assert_eq!(ranges(&evil.asked()), expected_ranges);
    assert!(
        !std::fs::read_dir(bench.spool().join("partial"))
            .unwrap()
            .any(|entry| { !entry.unwrap().file_name().to_string_lossy().starts_with("lock-") })
    );
}

#[tokio::test]
async fn cut_downloads_go_on_from_the_last_byte() {
    let body = noise(1_000_000);
    for cut in [Cut::Fin, Cut::Rst] {
        // Each cut is a part of what is left: 1 %, then 50 % of the rest, then 99 % of the rest.
        let answers =
            vec![whole(&body).cut_at(1, cut), whole(&body).cut_at(50, cut), whole(&body).cut_at(99, cut), whole(&body)];
        check(answers, &body, &["-", "bytes=10000-", "bytes=505000-", "bytes=995050-"]).await;
    }
}

#[tokio::test]
async fn a_range_is_asked_for_under_the_validator() {
    let body = noise(200_000);
    let evil = EvilHttp::start([Route::new("/big", [whole(&body).cut_at(50, Cut::Fin), whole(&body)])]).await;
    let bench = Bench::new();
    let landed = assert_body(bench.send(resumable(&evil.url("/big"))).await, &body);
    assert_eq!(evil.asked()[1].header("if-range"), Some("\"v1\""));
    assert_eq!(landed.meta.status, Some(206));
    assert_eq!(landed.meta.attempt, 2);
    assert_eq!((landed.meta.bytes_wire, landed.meta.bytes), (100_000, 200_000));
}

#[tokio::test]
async fn servers_that_do_not_continue_are_asked_for_the_whole() {
    let body = noise(200_000);
    let cut = || whole(&body).cut_at(50, Cut::Fin);
    for ranges in [Ranges::Ignored, Ranges::Refused, Ranges::WrongPlace, Ranges::WrongTotal] {
        let expected: &[&str] = match ranges {
            Ranges::Ignored | Ranges::Honoured => &["-", "bytes=100000-"],
            _ => &["-", "bytes=100000-", "-"],
        };
        check(vec![cut(), whole(&body).ranges(ranges)], &body, expected).await;
    }
}

#[tokio::test]
async fn a_changed_file_is_not_joined_to_the_old_part() {
    let (old, new) = (noise(200_000), noise(300_000)[50_000..250_000].to_vec());
    let cut = whole(&old).cut_at(50, Cut::Fin);
    let newer = Answer::ok(new.clone()).header("etag", "\"v2\"").ranges(Ranges::Honoured);
    check(vec![cut, newer], &new, &["-", "bytes=100000-"]).await;
}

#[tokio::test]
async fn without_a_strong_validator_the_download_starts_again() {
    let body = noise(200_000);
    let weak = || Answer::ok(body.clone()).header("etag", "W/\"v1\"").ranges(Ranges::Honoured);
    check(vec![weak().cut_at(50, Cut::Fin), weak()], &body, &["-", "-"]).await;
    let bare = || Answer::ok(body.clone()).ranges(Ranges::Honoured);
    check(vec![bare().cut_at(50, Cut::Fin), bare()], &body, &["-", "-"]).await;
    let dated = || {
        bare().header("last-modified", "Tue, 01 Sep 2026 08:00:00 GMT").header("date", "Tue, 01 Sep 2026 09:00:00 GMT")
    };
    check(vec![dated().cut_at(50, Cut::Fin), dated()], &body, &["-", "bytes=100000-"]).await;
}

#[tokio::test]
async fn encoded_downloads_resume_as_well() {
    let body = noise(300_000).repeat(2);
    let encoded = gzip(&body).await;
    let half = format!("bytes={}-", encoded.len() / 2);
    let answer = || whole(&encoded).header("content-encoding", "gzip");
    check(vec![answer().cut_at(50, Cut::Fin), answer()], &body, &["-", &half]).await;
}

#[tokio::test]
async fn a_digest_that_differs_discards_the_part() {
    let body = noise(100_000);
    let wrong = whole(&body).header("repr-digest", "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:");
    check(vec![wrong, whole(&body)], &body, &["-", "-"]).await;
}

#[tokio::test]
async fn a_download_survives_the_end_of_its_process() {
    let body = noise(1_000_000);
    let slow = whole(&body).trickle(50_000, Duration::from_millis(30));
    let evil = EvilHttp::start([Route::new("/big", [slow, whole(&body)])]).await;
    let bench = Bench::new();
    // A process that dies runs nothing of its own any more, as a dropped future does not.
    let first = bench.stack();
    let sink = Sink::default();
    let killed =
        tokio::time::timeout(Duration::from_millis(350), first.send(resumable(&evil.url("/big")), &sink)).await;
    assert!(killed.is_err(), "the download was over before the kill");
    drop(first);
    bench.assert_nothing_landed();

    let mut request = resumable(&evil.url("/big"));
    let mut attempts = 0;
    let outcome = loop {
        // The dropped download's last write may still hold the lock for a moment.
        attempts += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let outcome = bench.stack().send(request.clone(), &bench.sink).await;
        if evil.asked().last().unwrap().header("range").is_some() || attempts > 5 {
            break outcome;
        }
        request = resumable(&evil.url("/big"));
    };
    let landed = assert_body(outcome, &body);
    let range = ranges(&evil.asked()).pop().unwrap();
    let offset: u64 = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
    assert!(offset >= 64 * 1024, "{range}");
    assert_eq!(landed.meta.bytes_wire, 1_000_000 - offset, "bytes were sent twice");
}

#[tokio::test]
async fn two_downloads_of_one_file_do_not_disturb_each_other() {
    let body = noise(400_000);
    let slow = whole(&body).trickle(50_000, Duration::from_millis(10));
    let evil = EvilHttp::start([Route::new("/big", [slow])]).await;
    let bench = Bench::new();
    let stack = bench.stack();
    let send = || stack.send(resumable(&evil.url("/big")), &bench.sink);
    let (one, two) = tokio::join!(send(), send());
    assert_body(one, &body);
    assert_body(two, &body);
}

#[tokio::test]
async fn not_modified_leaves_a_part_alone() {
    let body = noise(100_000);
    let old = Answer::ok("old").header("etag", "\"v0\"").conditional();
    let evil = EvilHttp::start([Route::new("/big", [whole(&body).cut_at(80, Cut::Fin), old, whole(&body)])]).await;
    let mut bench = Bench::new();
    bench.config.resume_attempts_max = 1;
    assert!(text(bench.send(resumable(&evil.url("/big"))).await).contains("incomplete"));
    let validators = hambar_core::Validators { etag: Some("\"v0\"".to_owned()), last_modified: None };
    let request = Request { validators, ..resumable(&evil.url("/big")) };
    assert!(matches!(bench.send(request.clone()).await, Ok(Fetched::NotModified(_))));
    assert_body(bench.send(request).await, &body);
    assert_eq!(ranges(&evil.asked()).pop().unwrap(), "bytes=80000-");
}
