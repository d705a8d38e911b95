//! How many proofs failed from an address. Tokens cannot be guessed, so this keeps nobody out who has one; it keeps
//! guessing from filling the audit log and from asking the store.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures from one address in one window that are told and written down one by one.
const FAILURES_MAX: u32 = 20;
/// The window.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are known at once; the failures of all others count together.
const ADDRESSES_MAX: usize = 10_000;

/// Counts failures by address.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    counts: Mutex<HashMap<Option<IpAddr>, Count>>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    since: Instant,
    failures: u32,
}

impl Count {
    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }
}

impl Attempts {
    /// Counts a failure at `now`. Says whether it is one of the few that are told.
    pub(super) fn add(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut who = address.map(network);
        if !counts.contains_key(&who) && counts.len() >= ADDRESSES_MAX {
            counts.retain(|_, count| !count.is_old(now));
            if counts.len() >= ADDRESSES_MAX {
                who = None;
            }
        }
        let count = counts.entry(who).or_insert(Count { since: now, failures: 0 });
        if count.is_old(now) {
            *count = Count { since: now, failures: 0 };
        }
        count.failures = count.failures.saturating_add(1);
        count.failures <= FAILURES_MAX
    }

    /// Says whether the address has failed too often lately.
    pub(super) fn is_over(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&address.map(network));
        count.is_some_and(|count| count.failures >= FAILURES_MAX && !count.is_old(now))
    }
}

/// Of IPv6 the network of 64 bits: whoever has one address there has all of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_one_network_count_together_and_are_forgotten() {
        let attempts = Attempts::default();
        let now = Instant::now();
        let address = |number: u32| Some(format!("2001:db8::{number:x}").parse::<IpAddr>().unwrap());
        let told = (0..100).filter(|number| attempts.add(address(*number), now)).count();
        assert_eq!(told, FAILURES_MAX as usize);
        assert!(attempts.is_over(address(7), now));
        assert!(!attempts.is_over(Some("2001:db8:1::1".parse().unwrap()), now));
        assert!(attempts.add(Some("192.0.2.1".parse().unwrap()), now));
        let later = now + WINDOW;
        assert!(!attempts.is_over(address(7), later) && attempts.add(address(7), later));
    }

    #[test]
    fn many_addresses_take_bounded_memory() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for number in 0..ADDRESSES_MAX as u32 + 1_000 {
            attempts.add(Some(IpAddr::V4(number.into())), now);
        }
        assert!(attempts.counts.lock().unwrap().len() <= ADDRESSES_MAX + 1);
        assert!(!attempts.add(Some("203.0.113.9".parse().unwrap()), now));
        assert!(attempts.add(Some("203.0.113.9".parse().unwrap()), now + WINDOW));
    }
}
