//! Many pipelines, two schedulers and a provider in bad weather: runs fail in every way, schedulers and runs die at
//! random instants, and in the end every run has its row and every table its data.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hambar_testkit::evil_http::{Answer, Cut, Route};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::deaths::dice;
use super::{Scheduling, log, reschedule, rows, settled, workshop};
use crate::support::{Provider, Workshop, setting};

/// How many: here, and with `HAMBAR_TEST_LONG`. Each run is a process; the soak of `hambar-run` has a hundred without any.
const PIPELINES: usize = 30;
const PIPELINES_LONG: usize = 100;
/// For how long processes die: here, and with `HAMBAR_TEST_LONG`.
const STORM: Duration = Duration::from_secs(45);
const STORM_LONG: Duration = Duration::from_secs(1200);
/// Runs that were lost with their scheduler are recorded when they have shown no life for half a minute.
const CALM_MIN: Duration = Duration::from_secs(40);
/// For how long it may take until every pipeline has gone well once.
const CALM_MAX: Duration = Duration::from_secs(600);

/// What a provider may do instead of answering well.
fn fault(number: u64) -> Answer {
    let good = Answer::ok(rows(10)).header("content-type", "text/csv");
    match number {
        0 => Answer::status(500, "oops"),
        1 => Answer::status(429, "slowly").header("retry-after", "1"),
        2 => good.cut_at(50, Cut::Rst),
        3 => good.cut_at(90, Cut::Fin),
        4 => Answer::ok("<html>maintenance</html>").header("content-type", "text/html"),
        5 => Answer::ok("id,value\n1,one\n\"").header("content-type", "text/csv"),
        6 => Answer::raw("SSH-2.0-nonsense\r\n\r\n"),
        7 => Answer::redirect(302, "/elsewhere"),
        _ => good.trickle(8, Duration::from_millis(50)),
    }
}

/// The pipelines that have gone well at least once.
fn well(workshop: &Workshop) -> BTreeSet<String> {
    if workshop.files("store/system/runs").is_empty() {
        return BTreeSet::new();
    }
    let sql =
        "SELECT DISTINCT pipeline FROM system.runs WHERE outcome IN ('committed', 'unchanged', 'already_applied')";
    workshop.rows(sql).into_iter().collect()
}

/// Lets schedulers and runs die, until `until`.
fn storm(workshop: &Workshop, schedulers: &mut [Scheduling; 2], until: Instant, dice: &mut impl FnMut(u64) -> u64) {
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1000 + dice(3000)));
        let index = usize::try_from(dice(2)).unwrap();
        let children: Vec<Pid> = schedulers.iter().flat_map(Scheduling::children).collect();
        match dice(4) {
            0 => {
                schedulers[index].kill();
                schedulers[index] = Scheduling::start(workshop, &[]);
            }
            1 => {
                schedulers[index].stop();
                schedulers[index] = Scheduling::start(workshop, &[]);
            }
            2 if !children.is_empty() => {
                let victim = children[usize::try_from(dice(children.len() as u64)).unwrap()];
                // It may have ended by itself.
                let _ = kill(victim, Signal::SIGKILL);
            }
            // One is suspended, as a laptop or a virtual machine is.
            _ => {
                schedulers[index].signal(Signal::SIGSTOP);
                std::thread::sleep(Duration::from_millis(dice(1500)));
                schedulers[index].signal(Signal::SIGCONT);
            }
        }
    }
}

#[test]
fn many_pipelines_in_bad_weather_lose_nothing() {
    let is_long = setting("HAMBAR_TEST_LONG").is_some();
    let (pipelines, time) = if is_long { (PIPELINES_LONG, STORM_LONG) } else { (PIPELINES, STORM) };
    let provider = Provider::start();
    let seed = setting("HAMBAR_TEST_SEED").map_or_else(|| u64::from(std::process::id()), |text| text.parse().unwrap());
    println!("HAMBAR_TEST_SEED={seed}");
    let mut dice = dice(seed);
    let targets: Vec<String> = (0..pipelines).map(|index| format!("/{index}.csv")).collect();
    for target in &targets {
        let mut answers: Vec<Answer> = (0..dice(3)).map(|_| fault(dice(9))).collect();
        answers.push(Answer::ok(rows(10)).header("content-type", "text/csv").conditional());
        provider.server().set(Route::new(target, answers));
    }
    let names: Vec<&str> = targets.iter().map(String::as_str).collect();
    let workshop = workshop(&provider, &names, "runs_max = 4\nper_provider_max = 9");
    for index in 0..pipelines {
        // Most failures are of a kind that waits for the schedule's next time.
        let schedule = match index % 4 {
            0 => "cron = \"* * * * *\"\npriority = \"low\"",
            1 => "cron = \"*/2 * * * *\"\npriority = \"high\"",
            _ => "adaptive = { shortest_minutes = 1, longest_minutes = 60 }",
        };
        reschedule(&workshop, &format!("t.p{index}"), schedule);
    }
    let mut schedulers = [Scheduling::start(&workshop, &[]), Scheduling::start(&workshop, &[])];
    storm(&workshop, &mut schedulers, Instant::now() + time, &mut dice);
    let since = Instant::now();
    loop {
        let well = well(&workshop);
        if well.len() == pipelines && since.elapsed() > CALM_MIN {
            break;
        }
        assert!(since.elapsed() < CALM_MAX, "{} of {pipelines} went well: {well:?}\n{}", well.len(), log(&workshop));
        std::thread::sleep(Duration::from_secs(2));
    }
    for scheduling in &mut schedulers {
        assert_eq!(scheduling.stop(), Some(0), "{}", log(&workshop));
    }
    settled(&workshop);
    let all: Vec<String> =
        (0..pipelines).map(|index| format!("SELECT count(*) AS c, count(DISTINCT id) AS d FROM t.p{index}")).collect();
    assert_eq!(workshop.rows(&format!("SELECT DISTINCT c, d FROM ({})", all.join(" UNION ALL "))), ["10,10"]);
    println!("{} runs", workshop.value("SELECT count(*) FROM system.runs"));
    workshop.fsck();
}
