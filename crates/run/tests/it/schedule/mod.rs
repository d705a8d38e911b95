//! The scheduler over a store in memory, with runs that do what a script says: work, fail, hang, or die without a word.
//! Whatever they do, each start ends in exactly one row, and no pipeline is at work twice at a time.

mod process;
mod soak;
mod world;

use std::sync::atomic::Ordering;

use hambar_core::{Clock, ErrorClass, LeaseOutcome, TableName, TableStore};
use hambar_run::schedule::{Ending, JobName, Order, Role, Scheduler};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tokio_util::sync::CancellationToken;

use world::{Act, World, hourly, job, settle};

#[tokio::test]
async fn what_is_due_runs_once_and_again_when_it_is_due_again() {
    let world = World::new(vec![hourly("a.one"), hourly("a.two")]);
    let mut scheduler = world.scheduler(1);
    let overview = scheduler.overview();
    settle(&mut [&mut scheduler], 20).await;
    assert_eq!(world.endings("a.one"), [Ending::Unchanged]);
    assert_eq!((world.starts(), world.claims().await), (2, 0));
    world.pass(59);
    settle(&mut [&mut scheduler], 20).await;
    assert_eq!(world.starts(), 2);
    world.pass(1);
    settle(&mut [&mut scheduler], 20).await;
    assert_eq!(world.starts(), 4);
    // Down for a night: one run each makes up for it.
    world.pass(8 * 60 + 5);
    settle(&mut [&mut scheduler], 20).await;
    assert_eq!(world.starts(), 6);
    let now = overview.borrow().clone();
    assert_eq!((now.role, now.running.len(), now.failing.len()), (Role::Leading, 0, 0));
    assert_eq!(now.fresh[&"a.one".parse().unwrap()].verified_at, Some(Clock::now(&world)));
    // A pipeline that is added is noticed, one that is taken away is left alone.
    *world.jobs.lock().unwrap() = vec![hourly("a.new")];
    world.pass(60);
    settle(&mut [&mut scheduler], 20).await;
    assert_eq!((world.starts(), world.endings("a.new").len()), (7, 1));
}

#[tokio::test]
async fn every_way_to_end_gives_exactly_one_row() {
    let ends = [
        (Act::Works, Ending::Unchanged),
        (Act::Fails(ErrorClass::Drift), Ending::Failed(ErrorClass::Drift)),
        (Act::Dies, Ending::Failed(ErrorClass::Internal)),
        (Act::DiesLate, Ending::Changed),
        (Act::LosesItsRow, Ending::Changed),
    ];
    for (act, expected) in ends {
        let world = World::new(vec![hourly("a.one")]);
        world.act("a.one", &[act]);
        let mut scheduler = world.scheduler(1);
        settle(&mut [&mut scheduler], 20).await;
        assert_eq!(world.endings("a.one"), [expected], "{act:?}");
        assert_eq!((world.starts(), world.claims().await), (1, 0), "{act:?}");
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_written_is_written_later_and_nothing_starts_before() {
    for act in [Act::Dies, Act::LosesItsRow, Act::Works] {
        let world = World::new(vec![job("a.one", "* * * * *")]);
        world.act("a.one", &[act]);
        let mut scheduler = world.scheduler(1);
        world.store.refuses.store(true, Ordering::Relaxed);
        settle(&mut [&mut scheduler], 20).await;
        world.pass(5);
        settle(&mut [&mut scheduler], 20).await;
        assert_eq!((world.starts(), world.claims().await), (1, 1), "{act:?}");
        world.store.refuses.store(false, Ordering::Relaxed);
        settle(&mut [&mut scheduler], 20).await;
        assert_eq!((world.starts(), world.claims().await), (2, 0), "{act:?}");
        assert_eq!(world.endings("a.one").len(), 2, "{act:?}");
    }
}

#[tokio::test]
async fn failures_are_tried_again_by_their_class() {
    let world = World::new(vec![job("a.one", "0 6 * * *"), job("a.two", "0 6 * * *")]);
    world.act("a.one", &[Act::Fails(ErrorClass::Transient), Act::Fails(ErrorClass::Transient)]);
    world.act("a.two", &[Act::Fails(ErrorClass::Refused)]);
    let mut scheduler = world.scheduler(1);
    for _ in 0..60 {
        settle(&mut [&mut scheduler], 20).await;
        world.pass(1);
    }
    let transient = Ending::Failed(ErrorClass::Transient);
    assert_eq!(world.endings("a.one"), [transient, transient, Ending::Unchanged]);
    assert_eq!(world.endings("a.two"), [Ending::Failed(ErrorClass::Refused)]);
    assert_eq!(scheduler.overview().borrow().failing, [JobName::from_text("a.two").unwrap()]);
}

#[tokio::test]
async fn of_two_schedulers_one_leads_and_the_other_takes_over() {
    let world = World::new(vec![hourly("a.one"), hourly("a.two")]);
    let (mut first, mut second) = (world.scheduler(1), world.scheduler(2));
    settle(&mut [&mut first, &mut second], 20).await;
    assert_eq!(world.starts(), 2);
    let role = |scheduler: &Scheduler| scheduler.overview().borrow().role;
    assert_eq!((role(&first), role(&second)), (Role::Leading, Role::StandingBy));
    drop(first);
    world.pass(60);
    settle(&mut [&mut second], 20).await;
    assert_eq!((role(&second), world.starts()), (Role::Leading, 4));
}

#[tokio::test]
async fn a_scheduler_that_dies_with_its_runs_leaves_nothing_forgotten() {
    let world = World::new(vec![hourly("a.one")]);
    world.act("a.one", &[Act::Hangs]);
    let mut first = world.scheduler(1);
    first.step().await;
    tokio::task::yield_now().await;
    assert_eq!((world.starts(), world.claims().await), (1, 1));
    // The machine goes down: the scheduler, its run, and the run's lease.
    drop(first);
    settle(&mut [], 20).await;
    let mut second = world.scheduler(2);
    settle(&mut [&mut second], 20).await;
    assert_eq!(world.endings("a.one"), [Ending::Failed(ErrorClass::Internal)]);
    assert_eq!(world.claims().await, 0);
    world.pass(15);
    settle(&mut [&mut second], 20).await;
    assert_eq!(world.endings("a.one"), [Ending::Failed(ErrorClass::Internal), Ending::Unchanged]);
}

#[tokio::test]
async fn a_run_that_outlives_its_scheduler_is_left_to_finish() {
    let world = World::new(vec![job("a.one", "* * * * *")]);
    // The claim of a scheduler that is gone, of a run that is at work.
    let claim = r#"{"run": "earlier", "claimed_at": "2026-11-22T11:59:00Z", "host": "there", "pid": 7}"#;
    world.objects.put(&Path::from("schedule/running/a.one/earlier.json"), PutPayload::from(claim)).await.unwrap();
    let table: TableName = "a.one".parse().unwrap();
    let LeaseOutcome::Held(lease) = world.store.lease(&table, "the run").await.unwrap() else {
        panic!("the lease is free")
    };
    let mut scheduler = world.scheduler(2);
    for _ in 0..5 {
        settle(&mut [&mut scheduler], 20).await;
        world.pass(1);
    }
    assert_eq!((world.starts(), world.claims().await), (0, 1));
    // It ends as it should.
    let run = hambar_core::RunId("earlier".to_owned());
    world.told(&Order { job: JobName::Pipeline(table), run }, "committed", None).await;
    lease.release().await.unwrap();
    settle(&mut [&mut scheduler], 20).await;
    assert_eq!(world.claims().await, 0);
    world.pass(1);
    settle(&mut [&mut scheduler], 20).await;
    assert_eq!(world.endings("a.one"), [Ending::Changed, Ending::Unchanged]);
}

#[tokio::test]
async fn runs_are_stopped_and_recorded_when_it_is_told_to_stop_and_made_up_for_later() {
    let world = World::new(vec![hourly("a.one")]);
    world.act("a.one", &[Act::Hangs]);
    let stop = CancellationToken::new();
    let running = tokio::spawn(world.scheduler(1).run(stop.clone()));
    while world.at_work.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    running.await.unwrap();
    assert_eq!(world.endings("a.one"), [Ending::Cancelled]);
    assert_eq!(world.claims().await, 0);
    world.pass(2);
    let mut next = world.scheduler(2);
    settle(&mut [&mut next], 20).await;
    assert_eq!(world.endings("a.one"), [Ending::Cancelled, Ending::Unchanged]);
}

#[tokio::test]
async fn upkeep_is_recorded_like_any_run() {
    let world = World::new(vec![hourly("optimize")]);
    world.act("optimize", &[Act::LosesItsRow]);
    let mut scheduler = world.scheduler(1);
    settle(&mut [&mut scheduler], 20).await;
    assert_eq!((world.endings("optimize").len(), world.starts(), world.claims().await), (1, 1, 0));
}
