//! What must not end the server, starve others or go on unseen: hostile statements, clients that leave, stop reading or
//! send garbage, and a thousand connections that say nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::Served;
use super::client::start;

const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 1000000) a(x), generate_series(1, 1000000) b(y) WHERE x + y < 0";
const MANY_ROWS: &str = "SELECT a.value + b.value AS v FROM generate_series(1, 10000) a, generate_series(1, 100000) b";
const SQL: [(&str, &str); 1] = [("content-type", "application/sql")];

#[test]
fn hostile_statements_end_nothing() {
    let served = Served::start("[server.queries]\nrun_seconds_max = 5\nmemory_bytes_max = 67108864\n");
    let pid = served.pid();
    let memory = resident(pid);
    for sql in [
        format!("SELECT 1{}", "+1".repeat(20_000)),
        format!("SELECT 1{}", " || 'x'".repeat(1_000)),
        format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(3_000)),
        format!("SELECT {}1{}", "coalesce(".repeat(22), ", 1)".repeat(22)),
        format!("SELECT '{}'", "x".repeat(900_000)),
        "SELECT rpad('x', 2147483647, 'y')".to_owned(),
        "SELECT replace(repeat('a', 20000000), 'a', repeat('b', 1000))".to_owned(),
        "SELECT array_agg(a.value) FROM generate_series(1, 20000) a, generate_series(1, 20000) b".to_owned(),
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r".to_owned(),
        "SELECT * FROM '/etc/passwd'".to_owned(),
        "SELECT * FROM read_csv('/etc/passwd')".to_owned(),
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'".to_owned(),
        "SELECT 1; DROP TABLE demo.figures".to_owned(),
        ENDLESS.to_owned(),
    ] {
        let since = Instant::now();
        let answer = served.sql(&sql);
        let shown: String = sql.chars().take(60).collect();
        assert!((400..500).contains(&answer.status), "{shown}: {} {}", answer.status, answer.text());
        assert!(since.elapsed() < Duration::from_secs(8), "{shown}: {:?}", since.elapsed());
        let (text, folder) = (answer.text(), std::env::temp_dir());
        assert!(!text.contains(&*folder.to_string_lossy()) && !text.contains("store/"), "{text}");
        assert_eq!(served.sql("SELECT 1").value(), "1", "{shown}");
    }
    let long = vec![b'x'; 3 << 20];
    assert_eq!(served.send("POST", "/api/sql", Some(&served.token), &SQL, &long).status, 413);
    served.becomes_idle();
    assert_eq!(served.pid(), pid);
    assert!(resident(pid) < memory + (50 << 20), "{memory} {}", resident(pid));
}

#[test]
fn a_client_that_leaves_and_a_query_that_is_stopped_free_their_worker() {
    let served = Served::start("");
    let bearer = format!("Bearer {}", served.token);
    let headers = [("content-type", "application/sql"), ("authorization", bearer.as_str())];
    for sql in [ENDLESS, MANY_ROWS] {
        for _ in 0..3 {
            let mut stream = start(served.address, "POST", "/api/sql", &headers, sql.as_bytes());
            if sql == MANY_ROWS {
                stream.read_exact(&mut [0; 4096]).unwrap();
            } else {
                std::thread::sleep(Duration::from_millis(300));
            }
            let _ = stream.shutdown(Shutdown::Both);
        }
        served.becomes_idle();
    }
    let mut stream = start(served.address, "POST", "/api/sql", &headers, ENDLESS.as_bytes());
    std::thread::sleep(Duration::from_millis(500));
    let running = served.get("/api/queries").ok().json();
    let id = running[0]["id"].as_str().unwrap();
    let other = served.token("other", "curator", "*");
    served.send("DELETE", &format!("/api/queries/{id}"), Some(&other), &[], b"").fails(404, "query");
    assert_eq!(served.get_as(Some(&other), "/api/queries", &[]).ok().text(), "[]");
    assert_eq!(served.send("DELETE", &format!("/api/queries/{id}"), Some(&served.token), &[], b"").status, 204);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 409") && text.contains("\"cancelled\""), "{text}");
    served.becomes_idle();
    assert_eq!(served.sql("SELECT 1").value(), "1");
}

#[test]
fn one_who_asks_for_everything_waits_for_himself() {
    let served = Served::start(
        "[server.queries]\nworkers = 2\nthreads = 1\nper_member_max = 1\nqueue_per_member_max = 3\nrun_seconds_max = 8\n",
    );
    let greedy = served.token("greedy", "reader", "*");
    let modest = served.token("modest", "reader", "*");
    let bearer = format!("Bearer {greedy}");
    let headers = [("content-type", "application/sql"), ("authorization", bearer.as_str())];
    // Different statements: the same one would be run once for all.
    let endless = |number: u32| format!("{ENDLESS} -- {number}");
    let ask = |number| start(served.address, "POST", "/api/sql", &headers, endless(number).as_bytes());
    let waiting: Vec<TcpStream> = (0..8).map(ask).collect();
    std::thread::sleep(Duration::from_millis(500));
    for _ in 0..20 {
        let since = Instant::now();
        assert_eq!(served.sql_as(Some(&modest), "SELECT count(*) FROM demo.figures").value(), "2000");
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    }
    served.sql_as(Some(&greedy), "SELECT 1").fails(429, "quota");
    let refused = waiting.into_iter().filter_map(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).ok().map(|()| String::from_utf8_lossy(&head).into_owned())
    });
    assert!(refused.filter(|head| head == "HTTP/1.1 429").count() >= 4);
    served.becomes_idle();
}

#[test]
fn a_client_that_stops_reading_is_cut_off() {
    let served =
        Served::start("[server.queries]\nreader_seconds_max = 2\n[server.connections]\nwrite_seconds_max = 2\n");
    let bearer = format!("Bearer {}", served.token);
    let headers = [("content-type", "application/sql"), ("authorization", bearer.as_str())];
    // What answering touches at all, code and the catalogue's index, is not what a slow client costs.
    served.sql("SELECT * FROM demo.figures LIMIT 10000").ok();
    served.get("/api/search?q=figures").ok();
    let before = resident(served.pid());
    let mut streams: Vec<TcpStream> =
        (0..2).map(|_| start(served.address, "POST", "/api/sql", &headers, MANY_ROWS.as_bytes())).collect();
    for stream in &mut streams {
        stream.read_exact(&mut [0; 1024]).unwrap();
    }
    std::thread::sleep(Duration::from_secs(1));
    assert!(resident(served.pid()) < before + (64 << 20), "{before} {}", resident(served.pid()));
    std::thread::sleep(Duration::from_secs(4));
    served.becomes_idle();
    for mut stream in streams {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.ends_with(b"0\r\n\r\n"));
    }
}

#[test]
fn garbage_and_silence_cost_little() {
    let served = Served::start(
        "[server.connections]\nhead_seconds_max = 3\nbody_seconds_max = 2\nconnections_per_address_max = 1200\n",
    );
    let before = resident(served.pid());
    let garbage: [&[u8]; 7] = [
        b"\0\0\0\0\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/sql HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST /api/sql HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzzzz\r\n",
        b"\xff\xfe\xfd GET / HTTP/1.1\r\n\r\n",
    ];
    for bytes in garbage {
        let mut stream = TcpStream::connect(served.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
    let long_head = format!("x{}", "y".repeat(100_000));
    let answer = served.get_as(Some(&served.token), "/api/tables", &[("x-long", &long_head)]);
    assert_eq!(answer.status, 431);
    let idle: Vec<TcpStream> = (0..1_000).filter_map(|_| TcpStream::connect(served.address).ok()).collect();
    assert!(idle.len() > 900, "{}", idle.len());
    let since = Instant::now();
    assert_eq!(served.sql("SELECT 1").value(), "1");
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    assert!(resident(served.pid()) < before + (100 << 20), "{before} {}", resident(served.pid()));
    // Who says nothing, or says it too slowly, is let go.
    let mut slow = TcpStream::connect(served.address).unwrap();
    slow.write_all(b"POST /api/sql HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\ncontent-length: 10\r\n\r\nS")
        .unwrap();
    for mut stream in idle.into_iter().take(5).chain([slow]) {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.is_ok(), "{ended:?}");
    }
}

#[test]
fn going_down_lets_queries_end_and_takes_workers_along() {
    let mut served = Served::start("[server]\ndrain_seconds = 10\n");
    let bearer = format!("Bearer {}", served.token);
    let headers = [("content-type", "application/sql"), ("authorization", bearer.as_str())];
    let sql = "SELECT count(*) FROM generate_series(1, 5000000) a(x) WHERE x % 7 = 0";
    let mut stream = start(served.address, "POST", "/api/sql", &headers, sql.as_bytes());
    std::thread::sleep(Duration::from_millis(300));
    assert!(served.workers().1 > 0);
    assert!(served.stop().success());
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("714285"), "{text}");
    assert!(TcpStream::connect(served.address).is_err());
}

/// The resident memory of a process in bytes.
pub(super) fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
