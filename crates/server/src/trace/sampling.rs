//! Which requests are sampled. Members may decide with the trace that they are part of; of others, whoever they say they
//! are part of, our own chance decides. It is drawn anew for them: they choose the id of their trace, and with it they
//! would choose the chance.

use super::context::{Remote, TraceId};

/// Whose word counts about whether a request is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parents {
    /// That of everybody who sends `traceparent`.
    Everybody,
    /// That of those who have shown a valid token.
    Members,
    /// Nobody's.
    Nobody,
}

/// What is known at the start of a request; who asks is known later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chance {
    parents: Parents,
    /// What the caller says.
    asked: Option<bool>,
    /// What we drew.
    drawn: bool,
}

impl Chance {
    /// Draws for a request in `trace`, of which `ratio` are sampled.
    pub(super) fn draw(ratio: f64, parents: Parents, remote: Option<&Remote>, trace: TraceId) -> Self {
        let chance = if remote.is_some() { TraceId::random().chance() } else { trace.chance() };
        Self { parents, asked: remote.map(|remote| remote.is_sampled), drawn: chance < ratio }
    }

    /// Says whether it may still turn out that the request is sampled.
    pub(super) fn is_open(self) -> bool {
        self.drawn || (self.asked == Some(true) && self.parents != Parents::Nobody)
    }

    /// Says whether it is, once it is known whether a member asks.
    pub(super) fn is_sampled(self, is_member: bool) -> bool {
        let counts = match self.parents {
            Parents::Everybody => true,
            Parents::Members => is_member,
            Parents::Nobody => false,
        };
        self.asked.filter(|_| counts).unwrap_or(self.drawn)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn remote(flags: &str) -> Remote {
        // Its low bits are zero: by its id alone it would be sampled at any ratio.
        let parent = format!("00-4bf92f3577b34da6a300000000000000-00f067aa0ba902b7-{flags}");
        Remote::of(&HeaderMap::from_iter([("traceparent".parse().unwrap(), parent.parse().unwrap())])).unwrap()
    }

    #[test]
    fn only_those_who_are_trusted_decide() {
        for (parents, is_member, counts) in [
            (Parents::Everybody, false, true),
            (Parents::Members, true, true),
            (Parents::Members, false, false),
            (Parents::Nobody, true, false),
        ] {
            let of = |ratio: f64, flags: &str| {
                let remote = remote(flags);
                let chance = Chance::draw(ratio, parents, Some(&remote), remote.trace);
                let is_sampled = chance.is_sampled(is_member);
                assert!(chance.is_open() || !is_sampled);
                is_sampled
            };
            assert_eq!(of(0.0, "01"), counts, "{parents:?} {is_member}");
            assert_eq!(of(1.0, "00"), !counts, "{parents:?} {is_member}");
        }
    }

    #[test]
    fn an_outsider_who_chooses_the_id_does_not_choose_the_chance() {
        let remote = remote("01");
        let sampled = |_: &i32| Chance::draw(0.1, Parents::Members, Some(&remote), remote.trace).is_sampled(false);
        let count = (0..2_000).filter(sampled).count();
        assert!((100..320).contains(&count), "{count}");
    }

    #[test]
    fn without_a_parent_the_ratio_decides() {
        let count = |ratio: f64| {
            let drawn = |_: &i32| Chance::draw(ratio, Parents::Members, None, TraceId::random()).is_sampled(true);
            (0..2_000).filter(drawn).count()
        };
        assert_eq!((count(0.0), count(1.0)), (0, 2_000));
        assert!((400..600).contains(&count(0.25)), "{}", count(0.25));
    }
}
