//! The parent's side of decode workers, with shell scripts in the place of the worker.

use std::time::Duration;

use hambar_core::Classified;
use hambar_decode::DecodeReport;
use hambar_decode::worker::FrameWriter;
use hambar_run::decode_pool::{DecodePool, DecodeTask, Decoded, ProcessPool, ProcessSettings};

use crate::support::pipeline;

/// Lets a script be the worker and says what came of it.
async fn check(script: &str, wall_max: Duration) -> String {
    let mut settings = ProcessSettings::new("/bin/sh".into(), 1);
    settings.arguments = vec!["-c".to_owned(), script.to_owned()];
    settings.wall_max = wall_max;
    let pool = ProcessPool::new(settings);
    let job = pipeline("mode = \"append\"").job;
    let task = DecodeTask { path: "/dev/null".into(), keep: None, job };
    let mut frames = pool.decode(task).await.unwrap();
    match frames.next().await {
        None => "nothing".to_owned(),
        Some(Ok(Decoded::Done(report))) => format!("done: {} records", report.records),
        Some(Ok(other)) => format!("{other:?}"),
        Some(Err(failure)) => format!("{} ({})", failure, failure.class()),
    }
}

#[tokio::test]
async fn a_worker_that_dies_says_how() {
    let minute = Duration::from_secs(60);
    for (script, expected) in [
        (
            "cat > /dev/null; kill -9 $$",
            "decode worker was killed by signal 9 (out of memory, or the memory limit of 2 GiB?) (data)",
        ),
        ("cat > /dev/null; kill -SEGV $$", "decode worker was killed by signal 11 (SIGSEGV) (data)"),
        ("cat > /dev/null; kill -XCPU $$", "decode worker was stopped: CPU time of 30 min reached (limit)"),
        (
            "cat > /dev/null; echo 'memory allocation of 99 bytes failed' >&2; kill -ABRT $$",
            "decode worker was stopped: memory of 2 GiB reached (limit)",
        ),
        (
            "cat > /dev/null; echo oh >&2; exit 3",
            "decode worker ended with code 3 before its last frame: failed to fill whole buffer; it said `oh` (data)",
        ),
        ("cat > /dev/null; env | grep -q HOME && exit 9; exit 4", "code 4"),
    ] {
        let said = check(script, minute).await;
        assert!(said.contains(expected), "{script}: {said}");
    }
}

#[tokio::test]
async fn a_worker_that_does_not_end_is_stopped() {
    assert_eq!(
        check("exec sleep 600", Duration::from_millis(300)).await,
        "decode worker was stopped: wall time of 0 s reached (limit)"
    );
}

#[tokio::test]
async fn a_worker_that_reports_is_believed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let report = DecodeReport { records: 7, ..DecodeReport::default() };
    FrameWriter::new(std::fs::File::create(file.path()).unwrap()).done(&report).unwrap();
    let script = format!("cat > /dev/null; cat {}", file.path().display());
    assert_eq!(check(&script, Duration::from_secs(60)).await, "done: 7 records");
}

#[tokio::test]
async fn dropped_frames_free_the_worker() {
    let mut settings = ProcessSettings::new("/bin/sh".into(), 1);
    settings.arguments = vec!["-c".to_owned(), "exec sleep 600".to_owned()];
    let pool = ProcessPool::new(settings);
    let job = pipeline("mode = \"append\"").job;
    for _ in 0..3 {
        let task = DecodeTask { path: "/dev/null".into(), keep: None, job: job.clone() };
        drop(pool.decode(task).await.unwrap());
    }
}
