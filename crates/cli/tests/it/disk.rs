//! Disks that are full or fail: a clear error, nothing lost, nothing partial to be seen, and the next run works.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::crash::{Ledger, TABLE};
use crate::support::{Provider, Ran, Workshop, snapshot_of};

/// Bytes of the small disk.
const DISK_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of a page: the least that a file takes there.
const PAGE_BYTES: u64 = 4096;
/// Exit codes of errors of the store.
const STORE: i32 = 18;

/// A small disk at a folder; gone when dropped.
#[derive(Debug)]
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one, where the system lets us.
    fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={DISK_BYTES}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output();
        if mounted.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self { folder: folder.to_owned() });
        }
        println!("skipped: a small disk cannot be mounted here (root is needed)");
        None
    }

    /// Leaves so many bytes free.
    fn fill(&self, free: u64) {
        let ballast = self.folder.join("ballast");
        let _ = std::fs::remove_file(&ballast);
        let left = self.free();
        let file = std::fs::File::create(&ballast).unwrap();
        std::io::copy(&mut std::io::Read::take(std::io::repeat(1), left.saturating_sub(free)), &mut &file).unwrap();
    }

    fn empty(&self) {
        std::fs::remove_file(self.folder.join("ballast")).unwrap();
    }

    fn free(&self) -> u64 {
        let output = Command::new("df").args(["--output=avail", "-B1"]).arg(&self.folder).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().last().unwrap().trim().parse().unwrap()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

#[test]
fn a_disk_may_be_full_at_any_step_of_a_run() {
    let mut ledger = Ledger::new();
    let Some(disk) = SmallDisk::mount(&ledger.workshop.path().join("store")) else { return };
    ledger.publish(0);
    ledger.acknowledge(0);
    let mut failures = 0;
    for (n, pages) in (1..).zip([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16]) {
        ledger.publish(n);
        disk.fill(pages * PAGE_BYTES);
        let ran = ledger.workshop.hambar(&["run", TABLE]);
        let what = format!("{pages} pages free, {}{}", ran.stdout, ran.stderr);
        if ran.code() != Some(0) {
            failures += 1;
            assert_eq!(ran.code(), Some(STORE), "{what}");
            assert!(what.contains("No space left on device"), "{what}");
        }
        let seen = ledger.check_visible(n, &what);
        assert!(ran.code() != Some(0) || seen == Some(n), "a run that went well is there: {what}");
        disk.empty();
        ledger.acknowledge(n);
    }
    assert!(failures > 4, "{failures} runs met the full disk");
    ledger.check_history("after full disks");
    ledger.workshop.fsck();
}

/// The tracer that makes system calls fail; `None` where it is missing or may not trace.
fn tracer() -> Option<PathBuf> {
    let found = Command::new("sh").args(["-c", "command -v strace"]).output().unwrap();
    let path = PathBuf::from(String::from_utf8(found.stdout).unwrap().trim());
    let works = Command::new(&path).args(["-qq", "-f", "-e", "trace=none", "true"]).output();
    if works.is_ok_and(|output| output.status.success()) {
        return Some(path);
    }
    println!("skipped: strace is missing, or may not trace here");
    None
}

/// Runs the binary while `rules` of the tracer make system calls fail.
fn traced(workshop: &Workshop, tracer: &Path, rules: &[&str], arguments: &[&str]) -> Ran {
    let plain = workshop.command(arguments);
    let mut command = Command::new(tracer);
    command.args(["-f", "-qq", "-o"]).arg(workshop.path().join("trace")).args(rules);
    command.arg(plain.get_program()).args(plain.get_args()).current_dir(workshop.path()).env_clear();
    command.env("HOME", workshop.path()).env("TMPDIR", workshop.path().join("tmp"));
    Ran::of(&mut command)
}

#[test]
fn calls_that_make_a_write_durable_may_fail() {
    let Some(tracer) = tracer() else { return };
    let mut ledger = Ledger::new();
    ledger.publish(0);
    ledger.acknowledge(0);
    let (mut failures, mut n) = (0, 0);
    for calls in ["fsync,fdatasync", "link,linkat", "rename,renameat,renameat2", "mkdir,mkdirat"] {
        for error in ["EIO", "ENOSPC"] {
            for nth in [1, 2, 3, 5] {
                n += 1;
                ledger.publish(n);
                let rule = format!("inject={calls}:error={error}:when={nth}");
                let ran =
                    traced(&ledger.workshop, &tracer, &["-e", &format!("trace={calls}"), "-e", &rule], &["run", TABLE]);
                let what = format!("{rule}: {}{}", ran.stdout, ran.stderr);
                let seen = ledger.check_visible(n, &what);
                match ran.code() {
                    Some(0) => assert_eq!(seen, Some(n), "{what}"),
                    code => {
                        failures += 1;
                        assert_eq!(code, Some(STORE), "{what}");
                        let texts = ["Input/output error", "No space left on device"];
                        assert!(texts.iter().any(|text| what.contains(text)), "{what}");
                    }
                }
                ledger.acknowledge(n);
            }
        }
    }
    assert!(failures > 8, "{failures} runs met a failing call");
    ledger.check_history("after failing calls");
    ledger.workshop.fsck();
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_hurts_only_its_table() {
    let Some(tracer) = tracer() else { return };
    let (workshop, provider) = (Workshop::new(), Provider::start());
    for table in ["test.a", "test.b"] {
        workshop.pipeline(table, &snapshot_of(&provider.url("/a.csv"), &[("id", "int64")], 1));
    }
    for text in ["id\n1\n", "id\n1\n2\n"] {
        provider.publish("/a.csv", text);
        workshop.run("test.a");
        workshop.run("test.b");
    }
    workshop.hambar(&["optimize"]).ok();
    let root = std::fs::canonicalize(workshop.path()).unwrap();
    let files: Vec<PathBuf> = workshop
        .files("store/tables/test/a")
        .iter()
        .map(|file| root.join(file.strip_prefix(workshop.path()).unwrap()))
        .collect();
    let is_kind = |file: &PathBuf, end: &str| file.to_string_lossy().ends_with(end);
    let newest = files.iter().rfind(|file| is_kind(file, ".json")).unwrap().clone();
    let mut refused = 0;
    let data = files.iter().filter(|file| !file.to_string_lossy().contains("_delta_log")).cloned();
    for file in data.chain([newest]) {
        let rules = ["-P", file.to_str().unwrap(), "-e", "trace=read,pread64,readv,preadv", "-e"];
        let rules: Vec<&str> = rules.into_iter().chain(["inject=read,pread64,readv,preadv:error=EIO"]).collect();
        let ran = traced(&workshop, &tracer, &rules, &["sql", "--format", "csv", "SELECT sum(id) FROM test.a"]);
        let name = file.file_name().unwrap().to_str().unwrap();
        match ran.code() {
            // A file that is not needed, or not alone, does not matter.
            Some(0) => assert_eq!(ran.stdout.lines().last(), Some("3"), "{name}"),
            code => {
                refused += 1;
                assert_eq!(code, Some(STORE), "{name}: {}", ran.stderr);
                assert!(ran.stderr.contains(name), "`{name}` is not named: {}", ran.stderr);
            }
        }
        let other = traced(&workshop, &tracer, &rules, &["sql", "--format", "csv", "SELECT sum(id) FROM test.b"]);
        assert_eq!(other.ok().lines().last(), Some("3"), "{name}");
    }
    assert_eq!(refused, 2, "the live data file, and the newest file of the log");
    assert_eq!(workshop.value("SELECT sum(id) FROM test.a"), "3");
}

#[test]
fn a_query_whose_spill_disk_is_full_fails_and_leaves_nothing() {
    let (workshop, provider) = (Workshop::new(), Provider::start());
    let Some(disk) = SmallDisk::mount(&workshop.path().join("tmp")) else { return };
    workshop.pipeline("test.a", &snapshot_of(&provider.url("/a.csv"), &[("id", "int64")], 1));
    let rows: String = (0..1500).map(|id| format!("{id}\n")).collect();
    provider.publish("/a.csv", &format!("id\n{rows}"));
    workshop.run("test.a");
    // More than two million texts, each another one, in their order: far more than the query's memory.
    let sql = "SELECT max(n), max(text) FROM (SELECT text, row_number() OVER (ORDER BY text) AS n FROM \
               (SELECT md5(concat(a.id, '-', b.id)) AS text FROM test.a AS a CROSS JOIN test.a AS b))";
    let ask = || workshop.hambar(&["sql", "--format", "csv", "--memory", "64", sql]);
    for free in [0, 8 * PAGE_BYTES, 1024 * 1024, 4 * 1024 * 1024] {
        disk.fill(free);
        let ran = ask();
        assert_ne!(ran.code(), Some(0), "{free} bytes free: {}", ran.stdout);
        assert!(ran.stderr.contains("No space left on device"), "{free} bytes free: {}", ran.stderr);
        disk.empty();
        let left = workshop.files("tmp/hambar-spill");
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(workshop.value("SELECT count(*) FROM test.a"), "1500");
    }
    drop(disk);
    let found = ask().ok();
    assert_eq!(found.lines().count(), 2, "with room to spill it is answered: {found}");
}
