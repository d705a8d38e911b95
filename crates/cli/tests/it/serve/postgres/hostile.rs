//! What must not end the server or starve others over the Postgres protocol: garbage, silence, huge lengths, clients that
//! leave or take nothing, and whoever comes without TLS where there is a certificate.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::{Signal, kill};

use super::{ENDLESS, has_psql, postgres, psql};
use crate::serve::Served;
use crate::support::{Ran, Workshop};

const MANY_ROWS: &str = "SELECT a.value + b.value AS v FROM generate_series(1, 10000) a, generate_series(1, 100000) b";

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// What a peer hears that sends these bytes, up to the end of the connection.
fn hears(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    let _ = stream.write_all(bytes);
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    heard
}

/// The first packet of somebody who wants to ask.
fn start(user: &str) -> Vec<u8> {
    let body = [b"\0\x03\0\0user\0".as_slice(), user.as_bytes(), b"\0database\0hambar\0\0"].concat();
    [&(body.len() as u32 + 4).to_be_bytes(), body.as_slice()].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), b"\0"].concat())
}

/// A server on which people without a token may ask, so that no proof is needed.
fn open(settings: &str) -> Served {
    Served::with(settings, &["--anonymous", "--postgres", "127.0.0.1:0"])
}

/// A session that was let in.
fn session(served: &Served) -> TcpStream {
    let mut stream = connect(served.postgres());
    stream.write_all(&start("anonymous")).unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"Z\0\0\0\x05I") {
        let mut byte = [0];
        let read = stream.read_exact(&mut byte);
        assert!(read.is_ok(), "{read:?}: {}\n{}", String::from_utf8_lossy(&heard), served.log());
        heard.push(byte[0]);
    }
    stream
}

/// The resident memory of a process in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn peers_that_keep_to_nothing_end_nothing() {
    let served = postgres("[server.connections]\nhead_seconds_max = 2\n");
    let (address, pid) = (served.postgres(), served.pid());
    for garbage in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        b"\0\0\0\x04",
        b"\x7f\xff\xff\xff\0\x03\0\0",
        b"\0\0\0\x08\0\x02\0\0",
        b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02",
        b"\0\0\0\x0c\0\x03\0\0user",
        b"\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x08\x04\xd2\x16\x2f",
        &[0xff; 4096],
    ] {
        let since = Instant::now();
        hears(address, garbage);
        assert!(since.elapsed() < Duration::from_secs(10), "{garbage:?}");
    }
    // After a start without a proof: a huge message, an unknown one, a query.
    for rest in [b"p\x3f\xff\xff\xff".as_slice(), b"?\0\0\0\x04", b"Q\0\0\0\x0dSELECT 1\0", b"p\0\0\0\x08abcd"] {
        let heard = hears(address, &[start("tests/all"), rest.to_vec()].concat());
        let text = String::from_utf8_lossy(&heard);
        assert!(text.contains("SCRAM-SHA-256") && text.contains("FATAL") && !text.contains("SELECT"), "{text}");
    }
    // Nobody waits for long for a slow start.
    let since = Instant::now();
    assert!(hears(address, &start("tests/all")).starts_with(b"R"));
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    assert_eq!((served.pid(), served.sql("SELECT 1").value()), (pid, "1".to_owned()));
}

/// Numbers that are the same in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

#[test]
fn messages_without_sense_end_their_session_only() {
    let served = open("[server.connections]\nhead_seconds_max = 2\nbody_seconds_max = 2\n");
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for round in 0..120 {
        let mut stream = session(&served);
        let mut bytes = Vec::new();
        for _ in 0..=chance.next(6) {
            let kind = b"QPBDECSHXpdcfF?"[chance.next(15)];
            let body: Vec<u8> = (0..chance.next(40)).map(|_| b"\0\0\0\x01$1sSELECT 1P\xff"[chance.next(17)]).collect();
            let mut whole = message(kind, &body);
            // One in four lies about its length.
            if chance.next(4) == 0 {
                whole[1 + chance.next(4)] = chance.next(256) as u8;
            }
            bytes.extend(whole);
        }
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        if round % 40 == 0 {
            assert_eq!(served.sql("SELECT 1").value(), "1", "{round}");
        }
    }
    let mut stream = session(&served);
    stream.write_all(&query("SELECT 1 AS one")).unwrap();
    let mut heard = [0; 64];
    let length = stream.read(&mut heard).unwrap();
    assert!(heard[..length].starts_with(b"T"), "{:?}", &heard[..length]);
    served.becomes_idle();
}

#[test]
fn statements_that_are_too_much_are_refused() {
    let served = open("[server.queries]\nrun_seconds_max = 5\nmemory_bytes_max = 67108864\nresult_rows_max = 10000\n");
    let pid = served.pid();
    for (sql, code) in [
        (format!("SELECT 1{}", "+1".repeat(20_000)), "54000"),
        (format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000)), "54000"),
        (";".repeat(200_000), ""),
        ("SELECT 1;".repeat(101), "54000"),
        ("SELECT rpad('x', 2147483647, 'y')".to_owned(), ""),
        ("SELECT array_agg(a.value) FROM generate_series(1, 20000) a, generate_series(1, 20000) b".to_owned(), "5"),
        (MANY_ROWS.to_owned(), "54000"),
        (ENDLESS.to_owned(), "57014"),
    ] {
        let shown: String = sql.chars().take(60).collect();
        let mut stream = session(&served);
        let since = Instant::now();
        stream.write_all(&query(&sql)).unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"Z\0\0\0\x05I") {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).unwrap();
            assert!(length > 0, "{shown}: {}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&piece[..length]);
        }
        let text = String::from_utf8_lossy(&heard);
        assert!(since.elapsed() < Duration::from_secs(9), "{shown}: {:?}", since.elapsed());
        assert!(code.is_empty() || text.contains(&format!("\0C{code}")), "{shown}: {text}");
        assert_eq!(served.sql("SELECT 1").value(), "1", "{shown}");
    }
    // A message over its limit is not held.
    let before = resident(pid);
    let mut stream = session(&served);
    stream.write_all(b"Q\x3f\xff\xff\xff").unwrap();
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    assert!(String::from_utf8_lossy(&heard).contains("\0C54000\0"), "{}", String::from_utf8_lossy(&heard));
    assert!(resident(pid) < before + (16 << 20));
    served.becomes_idle();
}

#[test]
fn a_client_that_goes_stops_its_query() {
    let served = open("");
    for sql in [ENDLESS, MANY_ROWS] {
        let mut stream = session(&served);
        stream.write_all(&query(sql)).unwrap();
        let since = Instant::now();
        while !served.get("/api/queries").text().contains("postgres") {
            assert!(since.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(stream);
        served.becomes_idle();
    }
    assert_eq!(served.sql("SELECT 1").value(), "1");
}

#[test]
fn a_client_does_not_pay_for_the_time_that_the_server_takes() {
    let served = open("[server.connections]\nhead_seconds_max = 1\n");
    // What people without a token may read is found out by a worker, and the workers stand still.
    let workers = served.worker_processes();
    let signal = |signal: Signal| workers.iter().for_each(|(worker, _)| kill(*worker, signal).unwrap());
    signal(Signal::SIGSTOP);
    let since = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(3));
            signal(Signal::SIGCONT);
        });
        session(&served)
    });
    assert!(since.elapsed() > Duration::from_secs(2), "the workers were not needed: {:?}", since.elapsed());
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let served = open("[server.queries]\nreader_seconds_max = 2\n[server.connections]\nwrite_seconds_max = 2\n");
    let before = resident(served.pid());
    let mut streams: Vec<TcpStream> = (0..2).map(|_| session(&served)).collect();
    for stream in &mut streams {
        stream.write_all(&query(MANY_ROWS)).unwrap();
        stream.read_exact(&mut [0; 1024]).unwrap();
    }
    std::thread::sleep(Duration::from_secs(1));
    assert!(resident(served.pid()) < before + (64 << 20), "{before} {}", resident(served.pid()));
    std::thread::sleep(Duration::from_secs(4));
    served.becomes_idle();
    for mut stream in streams {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.ends_with(b"Z\0\0\0\x05I"));
    }
}

#[test]
fn a_thousand_silent_connections_cost_little() {
    let limits = "head_seconds_max = 4\nconnections_per_address_max = 1200\nconnections_max = 1200\n";
    let served = open(&format!("[server.connections]\n{limits}"));
    let before = resident(served.pid());
    let mut idle: Vec<TcpStream> = (0..1_000).filter_map(|_| TcpStream::connect(served.postgres()).ok()).collect();
    assert!(idle.len() > 900, "{}", idle.len());
    // Half of them begin and do not go on.
    for stream in idle.iter_mut().step_by(2) {
        stream.write_all(&start("tests/all")[..20]).unwrap();
    }
    let since = Instant::now();
    let mut stream = session(&served);
    stream.write_all(&query("SELECT 1 AS one")).unwrap();
    stream.read_exact(&mut [0; 32]).unwrap();
    assert_eq!(served.sql("SELECT 1").value(), "1");
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    assert!(resident(served.pid()) < before + (100 << 20), "{before} {}", resident(served.pid()));
    for mut stream in idle.into_iter().take(6) {
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.is_ok(), "{ended:?}");
    }
}

#[test]
fn one_connection_too_many_hears_so() {
    let served = open("[server.connections]\nconnections_per_address_max = 3\n");
    let held: Vec<TcpStream> = (0..3).map(|_| session(&served)).collect();
    let heard = hears(served.postgres(), &start("anonymous"));
    assert!(String::from_utf8_lossy(&heard).contains("53300"), "{}", String::from_utf8_lossy(&heard));
    drop(held);
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

#[test]
fn with_a_certificate_nothing_is_said_in_the_clear() {
    if !has_psql() {
        return;
    }
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let settings = "[server.tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n";
    let served = Served::prepared(settings, &["--postgres", "127.0.0.1:0"], |workshop: &Workshop| {
        workshop.write("server.pem", &pem("CERTIFICATE", made.cert.der()));
        workshop.write("other.pem", &pem("CERTIFICATE", other.cert.der()));
        workshop.write("server.key", &pem("PRIVATE KEY", &made.signing_key.serialize_der()));
    });
    let port = served.postgres().port();
    let ask = |how: &str, roots: &str| {
        let roots = served.workshop.path().join(roots);
        let target = format!(
            "host=localhost hostaddr=127.0.0.1 port={port} dbname=hambar sslmode={how} sslrootcert={}",
            roots.display()
        );
        let mut command = Command::new("psql");
        command.env("PGPASSWORD", &served.token).args(["-X", "-At", "-U", "tests/all", "-d", &target]);
        Ran::of(command.args(["-c", "SELECT count(*) FROM demo.figures"]))
    };
    for (how, roots) in [("verify-full", "server.pem"), ("verify-ca", "server.pem"), ("require", "missing.pem")] {
        assert_eq!(ask(how, roots).ok(), format!("{}\n", super::ROWS), "{how}");
    }
    let wrong = ask("verify-full", "other.pem");
    assert!(wrong.code() != Some(0) && wrong.stderr.contains("certificate verify failed"), "{}", wrong.stderr);
    let open = ask("disable", "server.pem");
    assert!(open.code() != Some(0) && open.stderr.contains("over TLS only"), "{}", open.stderr);
    let heard = hears(served.postgres(), &start("tests/all"));
    assert!(!String::from_utf8_lossy(&heard).contains("SCRAM"), "{}", String::from_utf8_lossy(&heard));
    // What follows a wish for TLS in the clear is not taken for what comes over it.
    let early = [b"\0\0\0\x08\x04\xd2\x16\x2f".as_slice(), &start("tests/all")].concat();
    assert_eq!(hears(served.postgres(), &early).first(), Some(&b'S'));
}

#[test]
fn it_never_listens_in_plaintext_by_mistake() {
    let workshop = Workshop::new();
    workshop
        .hambar(&["serve", "--listen", "127.0.0.1:0", "--postgres", "0.0.0.0:0"])
        .fails(2, &["is not a loopback address, and there is no TLS"]);
}

#[test]
fn a_proof_is_needed_and_a_wrong_one_says_nothing() {
    if !has_psql() {
        return;
    }
    let served = postgres("");
    let mut told = Vec::new();
    for user in ["tests/all", "tests/nobody", "nobody", "postgres", "hambar"] {
        let refused = psql(&served, user, "hbr_wrong", &["-w", "-c", "SELECT 1"]);
        assert_eq!(refused.code(), Some(2), "{user}");
        told.push(refused.stderr.replace(user, "x"));
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("the token is not valid"), "{told:?}");
    // A token's own id is as good as its name, and nobody else's name is.
    let refused = psql(&served, "tests/other", &served.token, &["-w", "-c", "SELECT 1"]);
    assert_eq!(refused.code(), Some(2));
    assert!(psql(&served, "tests/all", &served.token, &["-w", "-c", "SELECT 1"]).code() == Some(0));
}
