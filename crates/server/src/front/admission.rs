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
    /// Queries of all members of one organisation that run at once.
    pub running_per_organisation_max: Option<usize>,
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
    running_in: HashMap<String, usize>,
    queued: usize,
    /// Members by the turn at which they are next, so that whoever was served goes to the end.
    order: VecDeque<Party>,
    queue_of: HashMap<String, BTreeMap<u64, oneshot::Sender<Turn>>>,
    tickets: u64,
}

/// A place in the queue: its number, and where the turn will come from.
type Queued = (u64, oneshot::Receiver<Turn>);

/// Whose queries count together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Party {
    /// The member.
    pub(crate) member: String,
    /// The organisation, where there is one.
    pub(crate) organisation: Option<String>,
}

/// The right to run one query. Dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Turn {
    admission: Admission,
    party: Party,
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

    /// Returns how many may run and wait.
    pub(crate) fn limits(&self) -> &AdmissionLimits {
        &self.limits
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self, party: &Party) -> Result<Turn, FrontError> {
        let Some((ticket, turn)) = self.enter(party)? else {
            return Ok(Turn { admission: self.clone(), party: party.clone() });
        };
        let place = Place { admission: self, member: &party.member, ticket };
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
    fn enter(&self, party: &Party) -> Result<Option<Queued>, FrontError> {
        let limits = &self.limits;
        let member = &party.member;
        let mut state = self.state();
        if state.queued == 0 && state.running < limits.running_max && state.may_run(party, limits) {
            state.started(party);
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
            state.order.push_back(party.clone());
        }
        state.queue_of.entry(member.clone()).or_default().insert(ticket, send);
        drop(state);
        self.serve();
        Ok(Some((ticket, receive)))
    }

    /// Lets in whoever is next.
    fn serve(&self) {
        loop {
            let mut state = self.state();
            let Some((party, send)) = state.next(&self.limits) else { return };
            state.started(&party);
            drop(state);
            // A turn that nobody waits for any more is dropped, which lets the next one in.
            let unwanted = send.send(Turn { admission: self.clone(), party });
            drop(unwanted);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_run(&self, party: &Party, limits: &AdmissionLimits) -> bool {
        let of_member = self.running_of.get(&party.member).copied().unwrap_or(0);
        let is_free = |organisation: &String, limit| self.running_in.get(organisation).copied().unwrap_or(0) < limit;
        let organisation = party.organisation.as_ref().zip(limits.running_per_organisation_max);
        of_member < limits.running_per_member_max
            && organisation.is_none_or(|(organisation, limit)| is_free(organisation, limit))
    }

    fn started(&mut self, party: &Party) {
        self.running += 1;
        *self.running_of.entry(party.member.clone()).or_insert(0) += 1;
        if let Some(organisation) = &party.organisation {
            *self.running_in.entry(organisation.clone()).or_insert(0) += 1;
        }
    }

    fn ended(&mut self, party: &Party) {
        self.running = self.running.saturating_sub(1);
        count_down(&mut self.running_of, &party.member);
        if let Some(organisation) = &party.organisation {
            count_down(&mut self.running_in, organisation);
        }
    }

    /// Takes the next query out of the queue: the longest waiting one of the first member who may run another.
    fn next(&mut self, limits: &AdmissionLimits) -> Option<(Party, oneshot::Sender<Turn>)> {
        if self.running >= limits.running_max {
            return None;
        }
        let place = self.order.iter().position(|party| self.may_run(party, limits))?;
        let party = self.order.remove(place)?;
        let queue = self.queue_of.get_mut(&party.member)?;
        let (_, send) = queue.pop_first()?;
        self.queued -= 1;
        if queue.is_empty() {
            self.queue_of.remove(&party.member);
        } else {
            self.order.push_back(party.clone());
        }
        Some((party, send))
    }

    fn leave(&mut self, member: &str, ticket: u64) {
        let Some(queue) = self.queue_of.get_mut(member) else { return };
        if queue.remove(&ticket).is_none() {
            return;
        }
        self.queued -= 1;
        if queue.is_empty() {
            self.queue_of.remove(member);
            self.order.retain(|waiting| waiting.member != member);
        }
    }
}

fn count_down(counts: &mut HashMap<String, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
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
        self.admission.state().ended(&self.party);
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
            running_per_organisation_max: None,
            queue_max: queue,
            queue_per_member_max: queue_of_member,
            queue_time_max: Duration::from_millis(500),
        })
    }

    fn party(member: &str) -> Party {
        Party { member: member.to_owned(), organisation: None }
    }

    #[tokio::test]
    async fn an_organisation_with_many_tokens_has_one_share() {
        let limits = AdmissionLimits::clone(&admission(4, 2, 100, 10).limits);
        let admission = Admission::new(AdmissionLimits { running_per_organisation_max: Some(2), ..limits });
        let of = |member: &str, organisation: &str| Party {
            member: member.to_owned(),
            organisation: Some(organisation.to_owned()),
        };
        let one = admission.turn(&of("a1", "a")).await.unwrap();
        let two = admission.turn(&of("a2", "a")).await.unwrap();
        assert!(matches!(admission.turn(&of("a3", "a")).await, Err(FrontError::Waited { .. })));
        let other = admission.turn(&of("b1", "b")).await.unwrap();
        drop(one);
        let three = admission.turn(&of("a3", "a")).await.unwrap();
        assert_eq!(admission.load(), (3, 0));
        drop((two, three, other));
        assert_eq!(admission.load(), (0, 0));
        assert!(admission.state().running_in.is_empty());
    }

    #[tokio::test]
    async fn turns_go_round_the_members() {
        let admission = admission(1, 1, 100, 10);
        let first = admission.turn(&party("greedy")).await.unwrap();
        let (send, mut served) = tokio::sync::mpsc::unbounded_channel();
        for (number, member) in ["greedy", "greedy", "greedy", "modest"].into_iter().enumerate() {
            let (admission, send) = (admission.clone(), send.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(20 * number as u64)).await;
                let _turn = admission.turn(&party(member)).await.unwrap();
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
        let one = admission.turn(&party("one")).await.unwrap();
        let waiting = tokio::spawn({
            let admission = admission.clone();
            async move { admission.turn(&party("one")).await.map(|_| ()) }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(matches!(admission.turn(&party("one")).await, Err(FrontError::MemberBusy { .. })));
        // Somebody else gets in past a member who is at his limit.
        let other = admission.turn(&party("other")).await.unwrap();
        assert!(matches!(waiting.await.unwrap(), Err(FrontError::Waited { .. })));
        assert_eq!(admission.load(), (2, 0));
        drop((one, other));
        assert_eq!(admission.load(), (0, 0));
    }
}
