//! What all tests of the binary share: a working folder with settings, pipelines and a store; a provider on the loopback
//! interface; the binary itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hambar_testkit::evil_http::{Answer, EvilHttp, Route};
use tokio::runtime::Runtime;

/// Fast where production is patient: the tests' provider needs no politeness.
const SETTINGS: &str = r#"
[store]
url = "store"

[pipelines]
folder = "pipelines"

[fetch]
contact = "tests@example.org"
allow_hosts = ["127.0.0.1"]
attempts_max = 2
resume_attempts_max = 2
backoff_seconds = 0.01
backoff_max_seconds = 0.05

[fetch.every_host]
requests = 1000
"#;

/// A working folder for the binary.
#[derive(Debug)]
pub(crate) struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    /// Makes an empty one.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        let workshop = Self { folder };
        workshop.write("hambar.toml", SETTINGS);
        workshop
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file under the folder.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Writes the pipeline file of `namespace.table`.
    pub(crate) fn pipeline(&self, table: &str, text: &str) {
        self.write(&format!("pipelines/{}.toml", table.replace('.', "/")), text);
    }

    /// The binary with an environment of its own, ready to start.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let program = setting("HAMBAR_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_hambar").to_owned());
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.path()).env_clear();
        command.env("HOME", self.path()).env("TMPDIR", self.path().join("tmp"));
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn hambar(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Runs a pipeline that must go well; returns what was said about it.
    #[track_caller]
    pub(crate) fn run(&self, table: &str) -> String {
        self.hambar(&["run", table]).ok()
    }

    /// Returns the rows of a query as CSV lines without the header, sorted.
    #[track_caller]
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let text = self.hambar(&["sql", "--format", "csv", sql]).ok();
        let mut lines: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Returns the only value of a query.
    #[track_caller]
    pub(crate) fn value(&self, sql: &str) -> String {
        let rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows[0].clone()
    }

    /// Checks the whole store; panics with what is wrong.
    #[track_caller]
    pub(crate) fn fsck(&self) {
        let said = self.hambar(&["fsck"]).ok();
        assert!(said.ends_with("nothing is wrong\n"), "{said}");
    }

    /// Returns all files under a folder of the workshop, by path.
    pub(crate) fn files(&self, under: &str) -> Vec<PathBuf> {
        let (mut found, mut waiting) = (Vec::new(), vec![self.path().join(under)]);
        while let Some(folder) = waiting.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() { waiting.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }
}

/// How the binary ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) what: String,
    pub(crate) output: Output,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        let what: Vec<String> =
            command.get_args().map(|text| text.to_string_lossy().chars().take(200).collect()).collect();
        let output = command.output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { what: what.join(" "), output, stdout, stderr }
    }

    /// The exit code; `None` where a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// Expects success and returns standard output.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code(), Some(0), "hambar {}\n{}\n{}", self.what, self.stdout, self.stderr);
        self.stdout
    }

    /// Expects this exit code and these texts on standard error, which is returned.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, texts: &[&str]) -> String {
        assert_eq!(self.code(), Some(code), "hambar {}\n{}\n{}", self.what, self.stdout, self.stderr);
        for text in texts {
            assert!(self.stderr.contains(text), "hambar {}\n`{text}` is not in:\n{}", self.what, self.stderr);
        }
        self.stderr
    }
}

/// A provider on the loopback interface that answers as it is told.
#[derive(Debug)]
pub(crate) struct Provider {
    server: EvilHttp,
    _runtime: Runtime,
}

impl Provider {
    /// Starts one without anything to offer.
    pub(crate) fn start() -> Self {
        let runtime = background();
        let server = runtime.block_on(EvilHttp::start([]));
        Self { server, _runtime: runtime }
    }

    /// Offers `answer` at `target` from now on.
    pub(crate) fn offer(&self, target: &str, answer: Answer) {
        self.server.set(Route::new(target, [answer]));
    }

    /// Offers a CSV text at `target` from now on.
    pub(crate) fn publish(&self, target: &str, text: &str) {
        self.offer(target, Answer::ok(text.to_owned()).header("content-type", "text/csv"));
    }

    /// The address of a target.
    pub(crate) fn url(&self, target: &str) -> String {
        self.server.url(target)
    }

    /// The server behind it.
    pub(crate) fn server(&self) -> &EvilHttp {
        &self.server
    }
}

/// A runtime that goes on working while the test waits for the binary.
pub(crate) fn background() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// The text of a pipeline: a CSV file in snapshot mode. `columns` are names with types, the first `keys` of them the key.
pub(crate) fn snapshot_of(url: &str, columns: &[(&str, &str)], keys: usize) -> String {
    let mut text = format!("version = 1\n[source]\nkind = \"http_file\"\nurl = \"{url}\"\n[format]\nkind = \"csv\"\n");
    for (name, kind) in columns {
        text.push_str(&format!("[[columns]]\nname = \"{name}\"\ntype = \"{kind}\"\n"));
    }
    let key: Vec<String> = columns.iter().take(keys).map(|(name, _)| format!("\"{name}\"")).collect();
    text.push_str(&format!("[write]\nmode = \"snapshot\"\nkey = [{}]\n", key.join(", ")));
    text.push_str(ORIGIN);
    text
}

/// The origin that all of the tests' pipelines give.
pub(crate) const ORIGIN: &str = "[origin]\nprovider = \"Tests\"\ntitle = \"Test\"\ncitation = \"Tests\"\n\
    licence = \"CC0-1.0\"\nredistribution = \"allowed\"\n";

/// The folder of real data beside the repository; `None` where it is missing, which continuous integration forbids.
pub(crate) fn shared() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if folder.is_dir() {
        return Some(folder);
    }
    assert_ne!(setting("CI").as_deref(), Some("true"), "`../shared/data` is missing");
    println!("skipped: no ../shared");
    None
}

/// An environment variable of the test run.
#[expect(clippy::disallowed_methods, reason = "tests are steered by the environment")]
pub(crate) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// This instant, as SQL takes it.
#[expect(clippy::disallowed_methods, reason = "tests ask about instants between two runs")]
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// The Python with these modules; nothing where there is none, and the test is left out.
pub(crate) fn python(modules: &str) -> Option<String> {
    let python = setting("HAMBAR_TEST_PYTHON").unwrap_or_else(|| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let message = format!("`python3` (or HAMBAR_TEST_PYTHON) lacks one of {modules}");
    assert_ne!(setting("CI").as_deref(), Some("true"), "{message}");
    println!("skipped: {message}");
    None
}
