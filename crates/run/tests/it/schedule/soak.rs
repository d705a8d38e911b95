//! Many pipelines, several schedulers, and everything that can go wrong, in an order that a seed decides.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use hambar_core::ErrorClass;
use hambar_run::schedule::Scheduler;

use super::world::{Act, World, job, settle};

const PIPELINES: usize = 100;
const ROUNDS: usize = 40;
/// Seeds of an ordinary test run; `HAMBAR_TEST_SOAK_SEEDS` asks for more.
const SEEDS: u64 = 2;

/// A small generator of numbers that only the seed decides.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// An end that a run may come to; hanging is for runs that end with their scheduler.
fn act(dice: &mut Dice, may_hang: bool) -> Act {
    match dice.throw(12) {
        0 => Act::Fails(ErrorClass::Transient),
        1 => Act::Fails(ErrorClass::Drift),
        2 => Act::Dies,
        3 => Act::DiesLate,
        4 => Act::LosesItsRow,
        5 if may_hang => Act::Hangs,
        _ => Act::Works,
    }
}

async fn soak(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let is_detached = seed % 2 == 1;
    let jobs: Vec<_> =
        (0..PIPELINES).map(|index| job(&format!("t.p{index}"), &format!("{} * * * *", index % 60))).collect();
    let names: Vec<String> = jobs.iter().map(|job| job.name.to_string()).collect();
    let world = World::new(jobs);
    world.detached.store(is_detached, Ordering::Relaxed);
    for name in &names {
        let acts: Vec<Act> = (0..8).map(|_| act(&mut dice, !is_detached)).collect();
        world.act(name, &acts);
    }
    let mut schedulers: Vec<Scheduler> = vec![world.scheduler(1), world.scheduler(2)];
    for round in 0..ROUNDS {
        let mut all: Vec<&mut Scheduler> = schedulers.iter_mut().collect();
        settle(&mut all, 3).await;
        match dice.throw(6) {
            // One dies, and comes back.
            0 => {
                let index = dice.throw(2);
                drop(std::mem::replace(&mut schedulers[index], world.scheduler(10 + u32::try_from(round).unwrap())));
            }
            1 => world.store.refuses.store(true, Ordering::Relaxed),
            2 | 3 => world.store.refuses.store(false, Ordering::Relaxed),
            _ => {}
        }
        world.pass(i64::try_from(dice.throw(20)).unwrap());
    }
    // The weather becomes fine: those that hang end with their schedulers, and a new one settles everything.
    world.store.refuses.store(false, Ordering::Relaxed);
    world.script.lock().unwrap().clear();
    drop(schedulers);
    let mut last = world.scheduler(99);
    for _ in 0..30 {
        settle(&mut [&mut last], 3).await;
    }
    world.pass(24 * 60);
    for _ in 0..60 {
        settle(&mut [&mut last], 3).await;
    }
    assert_eq!(world.claims().await, 0, "seed {seed}");
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for (_, run) in world.rows() {
        *rows.entry(run.run).or_default() += 1;
    }
    let started = world.started.lock().unwrap().clone();
    assert!(started.len() > 2 * PIPELINES, "seed {seed}: only {} runs", started.len());
    for run in &started {
        assert_eq!(rows.get(run), Some(&1), "seed {seed}: rows of run {run} of {}", started.len());
    }
    for name in &names {
        assert!(!world.endings(name).is_empty(), "seed {seed}: {name} never ran");
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "tests may read the environment")]
async fn no_run_is_lost_doubled_or_forgotten_whatever_fails() {
    let seeds = std::env::var("HAMBAR_TEST_SOAK_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS);
    for seed in 1..=seeds {
        soak(seed).await;
    }
}
