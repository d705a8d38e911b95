//! `hambar serve` as its clients meet it: a server over a store with an open and a closed table, and a plain HTTP client
//! that notices every answer that breaks off.

mod abuse;
mod access;
mod cache;
mod citing;
mod client;
mod finding;
mod flight;
mod forms;
mod matrix;
mod oidc;
mod page;
mod policies;
mod postgres;
mod results;
mod saved;
mod tables;
mod telemetry;
mod tls;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::support::{Provider, Workshop, snapshot_of};
use client::{Answer, request};

/// Rows of the open table.
pub(super) const ROWS: u64 = 2_000;

/// A running server with its store.
pub(super) struct Served {
    pub(super) workshop: Workshop,
    pub(super) provider: Provider,
    pub(super) address: SocketAddr,
    /// Where Flight SQL is served, where it is.
    flight: Option<SocketAddr>,
    /// Where the Postgres protocol is served, where it is.
    postgres: Option<SocketAddr>,
    pub(super) token: String,
    child: Child,
    log: Arc<Mutex<String>>,
}

/// The open table's rows, of which `factor` changes the values.
pub(super) fn csv(rows: u64, factor: u64) -> String {
    let mut text = String::from("id,country,year,value,note\n");
    for id in 0..rows {
        let country = ["BGR", "GRC", "ROU"][(id % 3) as usize];
        let note = if id % 5 == 0 { String::new() } else { format!("\"n{id}, \"\"ü\"\"\"") };
        text.push_str(&format!("{id},{country},{},{}.5,{note}\n", 2000 + id % 25, id * factor));
    }
    text
}

impl Served {
    /// Starts a server with these settings in addition.
    pub(super) fn start(settings: &str) -> Self {
        Self::with(settings, &[])
    }

    /// Starts a server with these settings and arguments in addition.
    pub(super) fn with(settings: &str, arguments: &[&str]) -> Self {
        Self::prepared(settings, arguments, |_| {})
    }

    /// Starts a server with these settings and arguments in addition, and with files that `prepare` writes.
    pub(super) fn prepared(settings: &str, arguments: &[&str], prepare: impl FnOnce(&Workshop)) -> Self {
        let (workshop, provider) = (Workshop::new(), Provider::start());
        let columns =
            [("id", "int64"), ("country", "string"), ("year", "int32"), ("value", "float64"), ("note", "string")];
        provider.publish("/open.csv", &csv(ROWS, 1));
        provider.publish("/closed.csv", "id,secret\n1,hidden\n");
        workshop.pipeline("demo.figures", &snapshot_of(&provider.url("/open.csv"), &columns, 1));
        let closed = snapshot_of(&provider.url("/closed.csv"), &[("id", "int64"), ("secret", "string")], 1);
        let closed = closed.replace("redistribution = \"allowed\"", "redistribution = \"forbidden\"");
        workshop.pipeline("closed.numbers", &closed);
        workshop.run("demo.figures");
        workshop.run("closed.numbers");
        workshop.hambar(&["members", "add-org", "tests"]).ok();
        let token = token_in(&workshop, "all", "administrator", "*");
        let known = std::fs::read_to_string(workshop.path().join("hambar.toml")).unwrap();
        workshop.write("hambar.toml", &format!("{known}\n{settings}"));
        prepare(&workshop);
        Self::over(workshop, provider, token, arguments)
    }

    /// Starts another server over the store of one that was stopped.
    pub(super) fn over_again(mut stopped: Self) -> Self {
        let workshop = std::mem::replace(&mut stopped.workshop, Workshop::new());
        let provider = std::mem::replace(&mut stopped.provider, Provider::start());
        let token = stopped.token.clone();
        Self::over(workshop, provider, token, &[])
    }

    fn over(workshop: Workshop, provider: Provider, token: String, arguments: &[&str]) -> Self {
        let all: Vec<&str> = ["serve", "--listen", "127.0.0.1:0"].iter().chain(arguments).copied().collect();
        let mut child = workshop.command(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut stderr = child.stderr.take().unwrap();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length) = stderr.read(&mut piece)
                && length > 0
            {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut address = || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            let address = line.trim().rsplit("//").next().unwrap().parse();
            address.unwrap_or_else(|_| panic!("`{line}`\n{}", log.lock().unwrap()))
        };
        let own = address();
        let flight = arguments.contains(&"--flight").then(&mut address);
        let postgres = arguments.contains(&"--postgres").then(&mut address);
        Self { workshop, provider, address: own, flight, postgres, token, child, log }
    }

    /// Where Flight SQL is served.
    pub(super) fn flight(&self) -> SocketAddr {
        self.flight.unwrap()
    }

    /// Where the Postgres protocol is served.
    pub(super) fn postgres(&self) -> SocketAddr {
        self.postgres.unwrap()
    }

    /// Makes a token and returns it.
    pub(super) fn token(&self, name: &str, role: &str, scope: &str) -> String {
        token_in(&self.workshop, name, role, scope)
    }

    /// What the server has logged so far.
    pub(super) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The server's process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks with the administrator's token.
    pub(super) fn get(&self, target: &str) -> Answer {
        self.get_as(Some(&self.token), target, &[])
    }

    /// Asks with any token and more headers.
    pub(super) fn get_as(&self, token: Option<&str>, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", target, token, headers, b"")
    }

    /// Sends a statement as text.
    pub(super) fn sql(&self, sql: &str) -> Answer {
        self.sql_as(Some(&self.token), sql)
    }

    /// Sends a statement as text with any token.
    pub(super) fn sql_as(&self, token: Option<&str>, sql: &str) -> Answer {
        self.send("POST", "/api/sql", token, &[("content-type", "application/sql")], sql.as_bytes())
    }

    /// Sends a request as JSON.
    pub(super) fn json(&self, body: &serde_json::Value) -> Answer {
        let body = body.to_string();
        let headers = [("content-type", "application/json")];
        self.send("POST", "/api/sql", Some(&self.token), &headers, body.as_bytes())
    }

    /// Sends any request.
    pub(super) fn send(
        &self,
        method: &str,
        target: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut all: Vec<(&str, &str)> = headers.to_vec();
        if let Some(bearer) = &bearer {
            all.push(("authorization", bearer));
        }
        request(self.address, method, target, &all, body)
    }

    /// The processes of the query workers, and the processor time that each has used, in ticks.
    pub(super) fn worker_processes(&self) -> Vec<(Pid, u64)> {
        let mut workers = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            if fields.get(1).and_then(|parent| parent.parse().ok()) == Some(self.pid()) {
                let pid = Pid::from_raw(entry.file_name().to_str().unwrap().parse().unwrap());
                workers.push((pid, fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()));
            }
        }
        workers
    }

    /// The processor time that the query workers have used, in ticks, and how many there are.
    pub(super) fn workers(&self) -> (u64, usize) {
        let workers = self.worker_processes();
        (workers.iter().map(|(_, ticks)| ticks).sum(), workers.len())
    }

    /// Expects that within three seconds no query runs and no worker uses the processor.
    #[track_caller]
    pub(super) fn becomes_idle(&self) {
        let since = Instant::now();
        loop {
            let is_empty = self.get("/api/queries").text().trim() == "[]";
            let before = self.workers();
            std::thread::sleep(Duration::from_millis(500));
            let after = self.workers();
            // A worker that was just started in place of another uses a few ticks.
            if is_empty && before.1 == after.1 && after.0.saturating_sub(before.0) <= 10 {
                return;
            }
            assert!(since.elapsed() < Duration::from_secs(6), "{before:?} {after:?}");
        }
    }

    /// Tells the server to stop and returns how it ended.
    pub(super) fn stop(&mut self) -> std::process::ExitStatus {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn token_in(workshop: &Workshop, name: &str, role: &str, scope: &str) -> String {
    let arguments = ["members", "add-token", "tests", name, "--role", role, "--scope", scope];
    workshop.hambar(&arguments).ok().trim().to_owned()
}
