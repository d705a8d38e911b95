//! Runs as processes: a script stands for the binary and ends in every way a process can.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hambar_core::{ErrorClass, RunId};
use hambar_run::schedule::{Ended, JobName, Launcher, Order, ProcessLauncher, RunLimits};
use tokio_util::sync::CancellationToken;

use super::world::World;

/// What a run prints at its end; `$6` is the id that it was given.
const REPORT: &str = r#"printf '{"run":"%s","started_at":"2026-11-22T12:00:00Z","finished_at":"2026-11-22T12:00:01Z","outcome":"committed","class":null,"error":null,"is_recorded":true}\n' "$6""#;

/// Runs `script` in place of the binary; stops it after `stop_after`.
async fn launch(script: &str, job: &str, stop_after: Option<Duration>) -> (Ended, Duration) {
    // `$1` is then the first argument that the launcher adds itself.
    let arguments = ["-c", script, "program"].map(OsString::from).to_vec();
    let limits =
        RunLimits { memory_bytes_max: 1 << 30, wall_max: Duration::from_secs(3), drain_max: Duration::from_secs(1) };
    let clock = Arc::new(World::new(Vec::new()));
    let launcher = ProcessLauncher { program: "/bin/sh".into(), arguments, limits, clock };
    let stop = CancellationToken::new();
    if let Some(delay) = stop_after {
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            stop.cancel();
        });
    }
    let order = Order { job: JobName::from_text(job).unwrap(), run: RunId("r1".to_owned()) };
    let since = Instant::now();
    (launcher.launch(order, stop).await, since.elapsed())
}

#[track_caller]
fn is_silent(ended: &Ended, class: ErrorClass, words: &str) {
    let Ended::Silent { class: found, what } = ended else { panic!("{ended:?}") };
    assert!(*found == class && what.contains(words), "{ended:?}");
}

#[tokio::test]
async fn a_report_is_read_whatever_stands_around_it() {
    let (ended, _) = launch(&format!("echo noise\n{REPORT}\nhead -c 3000000 /dev/zero\nexit 18"), "a.one", None).await;
    let Ended::Reported(told) = ended else { panic!("{ended:?}") };
    assert_eq!((told.outcome.as_str(), told.is_recorded), ("committed", true));
}

#[tokio::test]
async fn the_limits_are_among_the_arguments() {
    let script = format!(
        "[ \"$*\" = '--memory-bytes-max 1073741824 run a.one --supervised r1 --seconds-max 3' ] || exit 9\n{REPORT}"
    );
    assert!(matches!(launch(&script, "a.one", None).await.0, Ended::Reported(_)));
}

#[tokio::test]
async fn silence_has_the_class_that_the_end_suggests() {
    is_silent(&launch("exit 2", "a.one", None).await.0, ErrorClass::Config, "ended with exit code 2");
    is_silent(&launch("exit 0", "a.one", None).await.0, ErrorClass::Internal, "ended with exit code 0");
    is_silent(&launch("kill -9 $$", "a.one", None).await.0, ErrorClass::Internal, "was ended by signal 9");
}

#[tokio::test]
async fn a_run_that_does_not_end_is_ended_with_all_that_it_started() {
    let (ended, took) = launch("trap '' TERM\nsleep 60 &\nwhile :; do sleep 0.1; done", "a.one", None).await;
    is_silent(&ended, ErrorClass::Limit, "after more than 3 s");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_may_report() {
    let script = format!("told() {{\n{REPORT}\nexit 130\n}}\ntrap 'told \"$@\"' TERM\nwhile :; do sleep 0.05; done");
    let (ended, took) = launch(&script, "a.one", Some(Duration::from_millis(500))).await;
    assert!(matches!(ended, Ended::Reported(_)), "{ended:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn upkeep_that_ends_well_is_done() {
    let (ended, _) = launch("[ \"$3\" = optimize ] && [ -z \"$4\" ]", "optimize", None).await;
    let Ended::Reported(told) = ended else { panic!("{ended:?}") };
    assert_eq!((told.outcome.as_str(), told.is_recorded), ("done", false));
    is_silent(&launch("exit 18", "vacuum", None).await.0, ErrorClass::Store, "exit code 18");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_said() {
    let limits =
        RunLimits { memory_bytes_max: 1 << 30, wall_max: Duration::from_secs(3), drain_max: Duration::from_secs(1) };
    let clock = Arc::new(World::new(Vec::new()));
    let launcher = ProcessLauncher { program: "/nowhere/hambar".into(), arguments: Vec::new(), limits, clock };
    let order = Order { job: JobName::from_text("a.one").unwrap(), run: RunId("r1".to_owned()) };
    is_silent(&launcher.launch(order, CancellationToken::new()).await, ErrorClass::Internal, "could not be started");
}
