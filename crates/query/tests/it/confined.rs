//! What the worker opens (`reliability.md` Q16): nothing but the store, its spill folder and what the system's own
//! libraries read, whatever the statement says. Watched from outside with strace; skipped, and said so, without it.

use std::path::{Path, PathBuf};
use std::process::Command;

use hambar_query::{QueryWorkers, Question, WorkerSettings};

use crate::fixture::{Fixture, fixture, limits, text};
use crate::worker::settings;

/// What libraries read for themselves: themselves, the machine's shape, time zones.
const SYSTEM: &[&str] = &[
    "/lib/",
    "/lib64/",
    "/usr/lib/",
    "/etc/ld.so.",
    "/proc/",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/",
    "/usr/share/zoneinfo/",
];

/// Statements that ask for a file, an address or a program, and some that only read.
const STATEMENTS: &[&str] = &[
    "SELECT count(*) FROM demo.gdp",
    "SELECT * FROM revisions('demo.gdp')",
    "SELECT * FROM (SELECT repeat(md5(CAST(value AS VARCHAR)), 8) AS h FROM generate_series(1, 60000)) t ORDER BY h LIMIT 400000 OFFSET 59990",
    "SELECT * FROM demo.gdp FOR SYSTEM_TIME AS OF '2024-01-15'",
    "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
    "CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION 's3://bucket/key'",
    "COPY demo.gdp TO '/tmp/hambar-must-not-exist.csv'",
    "COPY (SELECT 1) TO '/tmp/hambar-must-not-exist.parquet' STORED AS PARQUET",
    "EXPLAIN ANALYZE COPY demo.gdp TO '/tmp/hambar-must-not-exist.csv'",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM \"/etc/passwd\"",
    "SELECT * FROM \"file:///etc/passwd\"",
    "SELECT * FROM \"http://169.254.169.254\".\"latest\"",
    "SELECT * FROM '\\\\server\\share'",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM parquet_metadata('/etc/passwd')",
    "SELECT * FROM demo.\"../../../../etc/passwd\"",
    "SELECT * FROM \"..\".\"..\"",
    "SELECT * FROM as_of('../../etc.passwd', '2024-01-01')",
    "SELECT * FROM history('file.///etc/passwd')",
    "CREATE FUNCTION f() RETURNS INT LANGUAGE C AS '/lib/evil.so'",
    "PREPARE p AS COPY demo.gdp TO '/tmp/hambar-must-not-exist.csv'",
    "SELECT 1; COPY demo.gdp TO '/tmp/hambar-must-not-exist.csv'",
    "SELECT 1 /* COPY demo.gdp TO '/tmp/hambar-must-not-exist.csv' */",
];

/// Returns strace where it works on this machine.
fn strace() -> Option<PathBuf> {
    let program = PathBuf::from("/usr/bin/strace");
    let works = Command::new(&program).args(["-o", "/dev/null", "/bin/true"]).output();
    works.is_ok_and(|output| output.status.success()).then_some(program)
}

#[tokio::test]
async fn the_worker_opens_nothing_outside_the_store() {
    let Some(strace) = strace() else {
        println!("skipped: strace is missing or may not trace on this machine");
        return;
    };
    let fixture = fixture().await;
    let mut reached_store = 0;
    for (number, sql) in STATEMENTS.iter().enumerate() {
        let log = fixture.folder.path().join(format!("trace-{number}"));
        let answer = traced(&fixture, &strace, &log, sql).await;
        let trace = std::fs::read_to_string(&log).unwrap();
        assert!(trace.contains("execve("), "{sql}: nothing was traced");
        let opened = opened(&trace);
        let outside: Vec<&String> = opened.iter().filter(|path| !is_allowed(&fixture, path)).collect();
        assert!(outside.is_empty(), "{sql}\n{answer}\nopened {outside:?}");
        let sockets: Vec<&str> =
            trace.lines().filter(|line| line.contains("socket(") && !line.contains("EPERM")).collect();
        assert!(sockets.is_empty(), "{sql}: {sockets:?}");
        reached_store += usize::from(opened.iter().any(|path| path.starts_with(&fixture.store())));
    }
    // Where no statement reached the store the trace would prove nothing.
    assert!(reached_store >= 3, "{reached_store}");
    assert!(!Path::new("/tmp/hambar-must-not-exist.csv").exists());
    assert!(!Path::new("/tmp/hambar-must-not-exist.parquet").exists());
}

async fn traced(fixture: &Fixture, strace: &Path, log: &Path, sql: &str) -> String {
    let worker = env!("CARGO_BIN_EXE_hambar-query-worker");
    let arguments = ["-f", "-qq", "-e", "trace=%file,%network", "-o"].map(Into::into);
    let arguments = arguments.into_iter().chain([log.into(), worker.into()]).collect();
    let workers =
        QueryWorkers::new(WorkerSettings { program: strace.to_path_buf(), arguments, ..settings(fixture, limits()) });
    text(workers.run(&Question::new(sql, limits())).await).await
}

/// The paths that any call with a file name got or asked for, except the worker's own start.
fn opened(trace: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for line in trace.lines().filter(|line| !line.contains("execve(")) {
        // `openat(AT_FDCWD, "/path", …) = 3`; a call that is interrupted repeats its name, not its path.
        paths.extend(line.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    paths
}

fn is_allowed(fixture: &Fixture, path: &str) -> bool {
    let folder = fixture.folder.path().display().to_string();
    let in_folder = path.starts_with(&folder) && !path.contains("/../");
    // The parents of the store are looked at when its path is resolved.
    let is_parent = folder.starts_with(path) && path.starts_with('/');
    in_folder || is_parent || path.is_empty() || SYSTEM.iter().any(|start| path.starts_with(start))
}
