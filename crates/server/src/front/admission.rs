//! Who may run now: so many queries at once in all and for each member, a bounded queue, and turns that go round the
//! members, so that one who asks a hundred times waits for himself.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::FrontError;

/// How many queries run and wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Queries that run at once.
    pub running_max: usize,
    /// Queries of one member that run at once.
    pub running_per_member_max: usize,
    /// Queries that wait.
    pub queue_max: usize,
    /// Queries of one member that wait.
    pub queue_per_member_max: usize,
    /// How long a query waits.
    pub queue_time_max: Duration,
}

/// Gives out turns. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    limits: Arc<AdmissionLimits>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    running_of: HashMap<String, usize>,
    queued: usize,
    /// Members by the turn at which they are next, so that whoever was served goes to the end.
    order: VecDeque<String>,
    queue_of: HashMap<String, BTreeMap<u64, oneshot::Sender<Turn>>>,
    tickets: u64,
}

/// A place in the queue: its number, and where the turn will come from.
type Queued = (u64, oneshot::Receiver<Turn>);

/// The right to run one query. Dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Turn {
    admission: Admission,
    member: String,
}

impl Admission {
    pub(crate) fn new(limits: AdmissionLimits) -> Self {
        Self { limits: Arc::new(limits), state: Arc::default() }
    }

    /// Returns how many queries run and wait.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.state();
        (state.running, state.queued)
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self, member: &str) -> Result<Turn, FrontError> {
        let Some((ticket, turn)) = self.enter(member)? else {
            return Ok(Turn { admission: self.clone(), member: member.to_owned() });
        };
        let place = Place { admission: self, member, ticket };
        let limit = self.limits.queue_time_max;
        match tokio::time::timeout(limit, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => {
                drop(place);
                Err(FrontError::Waited { limit })
            }
        }
    }

    /// Starts at once, or takes a place in the queue.
    fn enter(&self, member: &str) -> Result<Option<Queued>, FrontError> {
        let limits = &self.limits;
        let mut state = self.state();
        let own = state.running_of.get(member).copied().unwrap_or(0);
        if state.running < limits.running_max && own < limits.running_per_member_max && state.queued == 0 {
            state.started(member);
            return Ok(None);
        }
        let waiting = state.queue_of.get(member).map_or(0, BTreeMap::len);
        if waiting >= limits.queue_per_member_max {
            return Err(FrontError::MemberBusy { waiting, limit: limits.queue_per_member_max });
        }
        if state.queued >= limits.queue_max {
            return Err(FrontError::Busy { limit: limits.queue_max });
        }
        let (send, receive) = oneshot::channel();
        state.tickets += 1;
        let ticket = state.tickets;
        state.queued += 1;
        if waiting == 0 {
            state.order.push_back(member.to_owned());
        }
        state.queue_of.entry(member.to_owned()).or_default().insert(ticket, send);
        drop(state);
        self.serve();
        Ok(Some((ticket, receive)))
    }

    /// Lets in whoever is next.
    fn serve(&self) {
        loop {
            let mut state = self.state();
            let Some((member, send)) = state.next(&self.limits) else { return };
            state.started(&member);
            drop(state);
            // A turn that nobody waits for any more is dropped, which lets the next one in.
            let unwanted = send.send(Turn { admission: self.clone(), member });
            drop(unwanted);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn started(&mut self, member: &str) {
        self.running += 1;
        *self.running_of.entry(member.to_owned()).or_insert(0) += 1;
    }

    /// Takes the next query out of the queue: the longest waiting one of the first member who may run another.
    fn next(&mut self, limits: &AdmissionLimits) -> Option<(String, oneshot::Sender<Turn>)> {
        if self.running >= limits.running_max {
            return None;
        }
        let may_run =
            |member: &String| self.running_of.get(member).copied().unwrap_or(0) < limits.running_per_member_max;
        let place = self.order.iter().position(may_run)?;
        let member = self.order.remove(place)?;
        let queue = self.queue_of.get_mut(&member)?;
        let (_, send) = queue.pop_first()?;
        self.queued -= 1;
        if queue.is_empty() {
            self.queue_of.remove(&member);
        } else {
            self.order.push_back(member.clone());
        }
        Some((member, send))
    }

    fn leave(&mut self, member: &str, ticket: u64) {
        let Some(queue) = self.queue_of.get_mut(member) else { return };
        if queue.remove(&ticket).is_none() {
            return;
        }
        self.queued -= 1;
        if queue.is_empty() {
            self.queue_of.remove(member);
            self.order.retain(|waiting| waiting != member);
        }
    }
}

/// A place in the queue; given up where whoever waits goes away.
struct Place<'a> {
    admission: &'a Admission,
    member: &'a str,
    ticket: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.admission.state().leave(self.member, self.ticket);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        state.running = state.running.saturating_sub(1);
        if let Some(count) = state.running_of.get_mut(&self.member) {
            *count -= 1;
            if *count == 0 {
                state.running_of.remove(&self.member);
            }
        }
        drop(state);
        self.admission.serve();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(running: usize, of_member: usize, queue: usize, queue_of_member: usize) -> Admission {
        Admission::new(AdmissionLimits {
            running_max: running,
            running_per_member_max: of_member,
            queue_max: queue,
            queue_per_member_max: queue_of_member,
            queue_time_max: Duration::from_millis(500),
        })
    }

    #[tokio::test]
    async fn turns_go_round_the_members() {
        let admission = admission(1, 1, 100, 10);
        let first = admission.turn("greedy").await.unwrap();
        let (send, mut served) = tokio::sync::mpsc::unbounded_channel();
        for (number, member) in ["greedy", "greedy", "greedy", "modest"].into_iter().enumerate() {
            let (admission, send) = (admission.clone(), send.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(20 * number as u64)).await;
                let _turn = admission.turn(member).await.unwrap();
                send.send(member).unwrap();
            });
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(admission.load(), (1, 4));
        drop((first, send));
        let mut order = Vec::new();
        while let Some(member) = served.recv().await {
            order.push(member);
        }
        assert_eq!(order, ["greedy", "modest", "greedy", "greedy"]);
        assert_eq!(admission.load(), (0, 0));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_long_wait_ends() {
        let admission = admission(2, 1, 2, 1);
        let one = admission.turn("one").await.unwrap();
        let waiting = tokio::spawn({
            let admission = admission.clone();
            async move { admission.turn("one").await.map(|_| ()) }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(matches!(admission.turn("one").await, Err(FrontError::MemberBusy { .. })));
        // Somebody else gets in past a member who is at his limit.
        let other = admission.turn("other").await.unwrap();
        assert!(matches!(waiting.await.unwrap(), Err(FrontError::Waited { .. })));
        assert_eq!(admission.load(), (2, 0));
        drop((one, other));
        assert_eq!(admission.load(), (0, 0));
    }
}
