//! What a failed run's class says about trying again before the next time of the schedule.

use hambar_core::ErrorClass;
use jiff::SignedDuration;

/// How often and how soon a failed run is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Wait before the first new attempt; it doubles from attempt to attempt.
    pub first: SignedDuration,
    /// The longest wait.
    pub longest: SignedDuration,
    /// New attempts after which the schedule's next time is waited for.
    pub attempts_max: u32,
}

/// Returns the rule for a class; `None` where only a person can help, so that the next time of the schedule is early
/// enough.
pub fn retry(class: ErrorClass) -> Option<Retry> {
    let minutes = SignedDuration::from_mins;
    let rule = |first: i64, longest: i64, attempts_max: u32| {
        Some(Retry { first: minutes(first), longest: minutes(longest), attempts_max })
    };
    match class {
        // Weather: the provider, the network, the store.
        ErrorClass::Transient | ErrorClass::Store => rule(1, 60, 8),
        // Somebody else was faster; they are done soon.
        ErrorClass::Conflict => rule(1, 30, 8),
        // Providers count by the quarter of an hour, the hour or the day.
        ErrorClass::Quota => rule(15, 360, 8),
        // Often a release that is still being uploaded.
        ErrorClass::Incomplete => rule(10, 120, 6),
        // May have been the machine's fault, but costs much.
        ErrorClass::Limit | ErrorClass::Internal => rule(10, 60, 2),
        ErrorClass::Config
        | ErrorClass::Refused
        | ErrorClass::Drift
        | ErrorClass::Data
        | ErrorClass::Query
        | ErrorClass::Denied => None,
        // Not a failure: see `due`.
        ErrorClass::Cancelled => None,
    }
}

/// Returns the wait before attempt `attempt` (from 1): `first`, doubled each time, at most `longest`.
pub(crate) fn backoff(first: SignedDuration, longest: SignedDuration, attempt: u32) -> SignedDuration {
    let factor = 1_i32.checked_shl(attempt.saturating_sub(1)).filter(|factor| *factor > 0).unwrap_or(i32::MAX);
    first.checked_mul(factor).unwrap_or(longest).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let minutes = |attempt| backoff(SignedDuration::from_mins(1), SignedDuration::from_mins(60), attempt).as_mins();
        let waits: Vec<i64> = (1..=8).map(minutes).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!((minutes(31), minutes(32), minutes(u32::MAX)), (60, 60, 60));
    }

    #[test]
    fn what_a_person_must_mend_is_not_tried_again() {
        let hopeless: Vec<&str> =
            ErrorClass::ALL.into_iter().filter(|class| retry(*class).is_none()).map(ErrorClass::name).collect();
        assert_eq!(hopeless, ["config", "refused", "drift", "data", "query", "denied", "cancelled"]);
    }
}
