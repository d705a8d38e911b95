//! Which of the jobs that are due may start now. Pure, and the same on every machine.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::due::{Due, due};
use super::history::History;
use super::job::{Job, JobName, Priority};

/// A job that has waited for so long goes before those of the next higher priority that have just come.
const AGEING: SignedDuration = SignedDuration::from_mins(30);

/// How many runs may go on at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// All together.
    pub runs_max: usize,
    /// Those that ask the same host.
    pub per_host_max: usize,
    /// Those of the same provider.
    pub per_provider_max: usize,
}

/// A job that starts now.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The job.
    pub job: Job,
    /// Since when, and why, it was due.
    pub due: Due,
}

/// What a job that is due waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// All runs that may go on do.
    Runs,
    /// This host is asked by as many as may.
    Host(String),
    /// This provider is asked by as many as may.
    Provider(String),
}

/// A job that is due and cannot start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The job.
    pub name: JobName,
    /// Since when, and why, it is due.
    pub due: Due,
    /// What it waits for.
    pub blocked: Blocked,
}

/// What is to be done at an instant.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// These start, the first first.
    pub start: Vec<Start>,
    /// These would, if there were room.
    pub waiting: Vec<Waiting>,
    /// These are due later.
    pub later: BTreeMap<JobName, Due>,
}

impl Plan {
    /// Returns when the next job is due that is not yet.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.later.values().map(|due| due.at).min()
    }
}

/// Decides what starts at `now`. A job that is among `running` never starts a second time; `since` is when this
/// scheduler began to look after the jobs.
pub fn plan(
    now: Timestamp,
    since: Timestamp,
    jobs: &[Job],
    histories: &BTreeMap<JobName, History>,
    running: &[Job],
    slots: &Slots,
) -> Plan {
    let mut plan = Plan::default();
    let at_work: BTreeSet<&JobName> = running.iter().map(|job| &job.name).collect();
    let mut ready = Vec::new();
    let none = History::default();
    for job in jobs.iter().filter(|job| !at_work.contains(&job.name)) {
        let history = histories.get(&job.name).unwrap_or(&none);
        match due(job, history, since, now) {
            Some(due) if due.at <= now => ready.push((job, due)),
            Some(due) => {
                plan.later.insert(job.name.clone(), due);
            }
            None => {}
        }
    }
    ready.sort_by_cached_key(|(job, due)| (Reverse(rank(job.schedule.priority, due, now)), due.at, job.name.clone()));
    let mut taken = Taken::default();
    for job in running {
        taken.take(job);
    }
    for (job, due) in ready {
        match taken.lacks(job, slots) {
            Some(blocked) => plan.waiting.push(Waiting { name: job.name.clone(), due, blocked }),
            None => {
                taken.take(job);
                plan.start.push(Start { job: job.clone(), due });
            }
        }
    }
    plan
}

/// Priority and patience as one number: nothing waits for ever.
fn rank(priority: Priority, due: &Due, now: Timestamp) -> i64 {
    let level = match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
    };
    level + now.duration_since(due.at).as_secs() / AGEING.as_secs()
}

/// The slots that are taken.
#[derive(Debug, Default)]
struct Taken {
    runs: usize,
    hosts: BTreeMap<String, usize>,
    providers: BTreeMap<String, usize>,
}

impl Taken {
    fn take(&mut self, job: &Job) {
        self.runs += 1;
        for host in &job.hosts {
            *self.hosts.entry(host.clone()).or_default() += 1;
        }
        if let Some(provider) = &job.provider {
            *self.providers.entry(provider.clone()).or_default() += 1;
        }
    }

    fn lacks(&self, job: &Job, slots: &Slots) -> Option<Blocked> {
        if self.runs >= slots.runs_max {
            return Some(Blocked::Runs);
        }
        let full = |taken: &BTreeMap<String, usize>, name: &String, most: usize| {
            taken.get(name).is_some_and(|count| *count >= most)
        };
        if let Some(host) = job.hosts.iter().find(|host| full(&self.hosts, host, slots.per_host_max)) {
            return Some(Blocked::Host(host.clone()));
        }
        let provider = job.provider.as_ref().filter(|name| full(&self.providers, name, slots.per_provider_max));
        provider.map(|name| Blocked::Provider(name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::{Adaptive, CatchUp, Cron, Ending, PastRun, Rhythm, Schedule, Upkeep};
    use super::*;

    const SLOTS: Slots = Slots { runs_max: 3, per_host_max: 1, per_provider_max: 2 };

    fn job(name: &str, host: &str, provider: &str, priority: Priority) -> Job {
        let rhythm = Rhythm::Cron(Box::new(Cron::parse("0 6 * * *", TimeZone::UTC).unwrap()));
        let schedule = Schedule { rhythm, jitter: SignedDuration::ZERO, priority, catch_up: CatchUp::Once };
        Job {
            name: JobName::from_text(name).unwrap(),
            schedule,
            hosts: vec![host.to_owned()],
            provider: Some(provider.to_owned()),
        }
    }

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_second(60 * minute).unwrap()
    }

    /// What `plan` says in one line, with jobs without a history, due since minute 0.
    fn said(now: Timestamp, jobs: &[Job], running: &[Job], slots: &Slots) -> String {
        let plan = plan(now, minute(0), jobs, &BTreeMap::new(), running, slots);
        let start: Vec<String> = plan.start.iter().map(|start| start.job.name.to_string()).collect();
        let waiting: Vec<String> =
            plan.waiting.iter().map(|waiting| format!("{} for {:?}", waiting.name, waiting.blocked)).collect();
        format!("start {}; wait {}", start.join(" "), waiting.join(", "))
    }

    #[test]
    fn slots_of_host_and_provider_and_all_are_kept() {
        let jobs = [
            job("x.a", "one", "p", Priority::Normal),
            job("x.b", "one", "p", Priority::Normal),
            job("x.c", "two", "p", Priority::Normal),
            job("x.d", "three", "p", Priority::Normal),
            job("x.e", "four", "q", Priority::Normal),
            job("x.f", "five", "r", Priority::Normal),
        ];
        assert_eq!(
            said(minute(1), &jobs, &[], &SLOTS),
            "start x.a x.c x.e; wait x.b for Host(\"one\"), x.d for Provider(\"p\"), x.f for Runs"
        );
        assert_eq!(
            said(minute(1), &jobs[1..], &jobs[..1], &SLOTS),
            "start x.c x.e; wait x.b for Host(\"one\"), x.d for Provider(\"p\"), x.f for Runs"
        );
    }

    #[test]
    fn what_runs_never_starts_again() {
        let jobs = [job("x.a", "one", "p", Priority::High)];
        let roomy = Slots { runs_max: 9, per_host_max: 9, per_provider_max: 9 };
        assert_eq!(said(minute(1), &jobs, &jobs, &roomy), "start ; wait ");
    }

    #[test]
    fn higher_priorities_go_first_but_nothing_waits_for_ever() {
        let single = Slots { runs_max: 1, ..SLOTS };
        let mut low = job("x.low", "one", "p", Priority::Low);
        let high = job("x.high", "two", "q", Priority::High);
        let both = [low.clone(), high.clone()];
        assert!(said(minute(1), &both, &[], &single).starts_with("start x.high;"));
        // The low one has been due since minute 0, the high one since minute 55.
        low.schedule.rhythm = Rhythm::Adaptive(Adaptive {
            shortest: SignedDuration::from_mins(10),
            longest: SignedDuration::from_mins(10),
        });
        let mut high = high;
        high.schedule.rhythm = low.schedule.rhythm.clone();
        let ran = |name: &JobName, at: i64| {
            let mut history = History::default();
            let (started_at, finished_at) = (minute(at), minute(at));
            history.add(PastRun { run: at.to_string(), started_at, finished_at, ending: Ending::Changed });
            (name.clone(), history)
        };
        let histories = BTreeMap::from([ran(&low.name, -10), ran(&high.name, 45)]);
        let first = |now: i64| {
            let plan = plan(minute(now), minute(-20), &[low.clone(), high.clone()], &histories, &[], &single);
            plan.start[0].job.name.to_string()
        };
        assert_eq!((first(56).as_str(), first(61).as_str()), ("x.high", "x.low"));
    }

    #[test]
    fn the_same_input_gives_the_same_plan_in_any_order() {
        let mut jobs: Vec<Job> = (0..20)
            .map(|index| job(&format!("x.t{index}"), &format!("h{}", index % 7), "p", Priority::Normal))
            .collect();
        let slots = Slots { runs_max: 5, per_host_max: 1, per_provider_max: 9 };
        let first = said(minute(1), &jobs, &[], &slots);
        jobs.reverse();
        assert_eq!(said(minute(1), &jobs, &[], &slots), first);
    }

    #[test]
    fn what_is_due_later_wakes_in_time() {
        let jobs = [job("x.a", "one", "p", Priority::Normal), job("vacuum", "two", "q", Priority::Low)];
        assert_eq!(jobs[1].name, JobName::Upkeep(Upkeep::Vacuum));
        let mut history = History::default();
        let at = minute(10);
        history.add(PastRun { run: "r".to_owned(), started_at: at, finished_at: at, ending: Ending::Changed });
        let histories = BTreeMap::from([(jobs[0].name.clone(), history.clone()), (jobs[1].name.clone(), history)]);
        let plan = plan(minute(11), minute(0), &jobs, &histories, &[], &SLOTS);
        assert!(plan.start.is_empty() && plan.later.len() == 2);
        assert_eq!(plan.wake_at(), Some(minute(6 * 60)));
    }

    #[test]
    fn a_day_of_a_busy_scheduler_keeps_every_rule() {
        // Twelve jobs of three hosts every hour, runs of 25 minutes, two at a time: more than can be done.
        let mut jobs = Vec::new();
        for index in 0..12 {
            let priority = [Priority::Low, Priority::Normal, Priority::High][index % 3];
            let mut job = job(&format!("x.t{index}"), &format!("h{}", index % 4), &format!("p{}", index % 2), priority);
            job.schedule.rhythm =
                Rhythm::Cron(Box::new(Cron::parse("7 * * * *", TimeZone::get("Europe/Sofia").unwrap()).unwrap()));
            jobs.push(job);
        }
        let slots = Slots { runs_max: 2, per_host_max: 1, per_provider_max: 1 };
        let mut histories: BTreeMap<JobName, History> = BTreeMap::new();
        let mut running: Vec<(Job, i64)> = Vec::new();
        let mut runs: BTreeMap<JobName, usize> = BTreeMap::new();
        for now in 0..1_500 {
            let (over, going): (Vec<_>, Vec<_>) = running.into_iter().partition(|(_, began)| now - began >= 25);
            running = going;
            for (job, began) in over {
                let (started_at, finished_at) = (minute(began), minute(now));
                let run = PastRun { run: began.to_string(), started_at, finished_at, ending: Ending::Unchanged };
                histories.entry(job.name.clone()).or_default().add(run);
                *runs.entry(job.name).or_default() += 1;
            }
            let at_work: Vec<Job> = running.iter().map(|(job, _)| job.clone()).collect();
            let plan = plan(minute(now), minute(0), &jobs, &histories, &at_work, &slots);
            running.extend(plan.start.into_iter().map(|start| (start.job, now)));
            let hosts: BTreeSet<&String> = running.iter().flat_map(|(job, _)| &job.hosts).collect();
            let providers: BTreeSet<&Option<String>> = running.iter().map(|(job, _)| &job.provider).collect();
            assert!(running.len() <= 2 && hosts.len() == running.len() && providers.len() == running.len());
        }
        let counts: Vec<usize> = runs.values().copied().collect();
        assert_eq!(counts.len(), 12);
        assert!(counts.iter().min() > Some(&4), "{counts:?}");
        assert!(counts.iter().sum::<usize>() > 100, "{counts:?}");
    }
}
