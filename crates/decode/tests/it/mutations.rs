//! Damaged files by the thousand: every target of `targets` meets mutations of its seeds in a process of its own, under a
//! memory limit of the operating system, so that neither a panic nor a bomb goes unnoticed. `HAMBAR_TEST_LONG` tries many
//! more, `HAMBAR_TEST_SEED` repeats a run, `HAMBAR_FUZZ_CORPUS` names a folder that takes the seeds for the fuzzers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::reading::limited;
use crate::seeds::seeds;
use crate::targets::{TARGETS, Target};

/// Private memory of the process that meets the mutations: half of what a decode worker may have.
const MEMORY_MIB_MAX: u64 = 1024;
/// Time for one target when nobody asks for more.
const TIME_SHORT: Duration = Duration::from_secs(4);
const TIME_LONG: Duration = Duration::from_secs(120);
/// Time for one input; a slower one is a finding too.
const INPUT_TIME_MAX: Duration = Duration::from_secs(20);
/// Texts that decide things in some format.
const TOKENS: [&[u8]; 28] = [
    b"\"",
    b"\"\"",
    b",",
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"null",
    b"1e400",
    b"\\ud800",
    b"-",
    b"9223372036854775808",
    b"<",
    b">",
    b"/>",
    b"&#0;",
    b"<![CDATA[",
    b"PK\x03\x04",
    b"PK\x01\x02",
    b"PAR1",
];

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// Steele, Lea and Flood's SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Damages `body` in one to six places; `other` is another seed, of which a part may be taken.
fn mutated(random: &mut Random, body: &[u8], other: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    for _ in 0..=random.below(6) {
        let at = random.below(body.len() + 1);
        let end = (at + 1 + random.below(40)).min(body.len()).max(at);
        match random.below(9) {
            0 => body.truncate(at),
            1 => drop(body.drain(at..end)),
            2 => body.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied()).for_each(drop),
            3 => {
                let part = body[at..end].to_vec();
                let times = 1 + random.below(50);
                body.splice(at..at, part.repeat(times)).for_each(drop);
            }
            4 => {
                let from = random.below(other.len() + 1);
                let to = (from + random.below(200)).min(other.len());
                body.splice(at..end, other[from..to].iter().copied()).for_each(drop);
            }
            5 => {
                let extreme = [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0xffff][random.below(6)];
                for (to, from) in body[at..].iter_mut().zip(extreme.to_le_bytes()) {
                    *to = from;
                }
            }
            6 => {
                let digit = b'0' + random.below(10) as u8;
                body.splice(at..at, std::iter::repeat_n(digit, 1 + random.below(25))).for_each(drop);
            }
            7 if at < body.len() => body[at] = random.next() as u8,
            _ if at < body.len() => body[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
    body
}

/// The process that meets them. Each input is in `file` before it is tried, so that the one that kills is known.
#[test]
fn in_a_process_of_its_own() {
    let (Some(name), Some(file)) = (setting("HAMBAR_MUTATIONS_OF"), setting("HAMBAR_MUTATIONS_FILE")) else {
        return;
    };
    let (_, target) = TARGETS.into_iter().find(|(known, _)| *known == name).unwrap();
    let time = if setting("HAMBAR_TEST_LONG").is_some() { TIME_LONG } else { TIME_SHORT };
    let seed = setting("HAMBAR_TEST_SEED").and_then(|text| text.parse().ok()).unwrap_or(1);
    meet(target, &seeds(&name), Path::new(&file), time, seed);
}

fn meet(target: Target, seeds: &[Vec<u8>], file: &Path, time: Duration, seed: u64) {
    let attempt = |body: &[u8]| {
        std::fs::write(file, body).unwrap();
        let started = Instant::now();
        target(body);
        assert!(started.elapsed() < INPUT_TIME_MAX, "{:?} for {} bytes", started.elapsed(), body.len());
    };
    seeds.iter().for_each(|body| attempt(body));
    let began = Instant::now();
    let (mut random, mut tried) = (Random(seed), 0);
    while began.elapsed() < time && !seeds.is_empty() {
        let (one, other) = (random.below(seeds.len()), random.below(seeds.len()));
        attempt(&mutated(&mut random, &seeds[one], &seeds[other]));
        tried += 1;
    }
    println!("{} seeds, {tried} mutations", seeds.len());
}

fn check(name: &str) {
    if let Some(folder) = setting("HAMBAR_FUZZ_CORPUS").map(PathBuf::from) {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (index, seed) in seeds(name).iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{index}")), seed).unwrap();
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input");
    let mut child = limited("mutations::in_a_process_of_its_own", MEMORY_MIB_MAX);
    child.env("HAMBAR_MUTATIONS_OF", name).env("HAMBAR_MUTATIONS_FILE", &file);
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        let counted = said.lines().find(|line| line.contains("mutations")).unwrap_or("nothing was tried");
        println!("{name}: {}", counted.trim_start_matches(|character: char| !character.is_ascii_digit()));
        return;
    }
    let kept = std::env::temp_dir().join(format!("hambar-{name}-{}", std::process::id()));
    std::fs::copy(&file, &kept).unwrap();
    panic!(
        "{name}: {} with the input kept in {}:\n{said}\n{}",
        output.status,
        kept.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}

macro_rules! checks {
    ($($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )+

        #[test]
        fn every_target_is_checked() {
            let checked = [$(stringify!($name)),+];
            assert!(TARGETS.iter().all(|(name, _)| checked.contains(name)), "{checked:?}");
        }
    };
}

checks!(
    csv, fixed, json, ndjson, parquet, arrow, xlsx, xls, ods, sdmx_ml, sdmx_csv, sdmx_json, structures, zip, tar,
    compress, infer, period, number, conform,
);
