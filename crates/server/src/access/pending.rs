//! Logins elsewhere that are under way: a cookie of the browser that began one. It names a seed, from which everything is
//! made that only this login may know, and is proven with the key of the servers: whichever of them the browser comes back
//! to knows what it began, and nothing is kept.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};

use super::{AccessError, SessionKey, token};

/// A login that takes longer has to be begun again.
pub(crate) const LIFETIME: SignedDuration = SignedDuration::from_mins(10);
/// Random bytes of a seed.
const SEED_BYTES: usize = 32;
/// Bytes of the address that is gone on to; a longer one is forgotten.
const NEXT_BYTES_MAX: usize = 2 * 1024;
/// Bytes of a cookie that are looked at.
const COOKIE_BYTES_MAX: usize = 4 * 1024;

/// A login that is under way.
#[derive(Clone)]
pub(crate) struct Pending {
    seed: String,
    key: SessionKey,
    /// Where to go on to.
    pub(crate) next: String,
}

impl Pending {
    /// Begins a login at `now`; returns it with the cookie of the browser.
    pub(crate) fn begin(key: &SessionKey, next: &str, now: Timestamp) -> Result<(Self, String), AccessError> {
        let mut seed = [0; SEED_BYTES];
        token::fill(&mut seed)?;
        let seed = BASE64_URL_SAFE_NO_PAD.encode(seed);
        let next = if next.len() <= NEXT_BYTES_MAX { next } else { "/" };
        let ends_at = now.checked_add(LIFETIME).unwrap_or(Timestamp::MAX).as_second();
        let shown = format!("{seed}.{ends_at}.{}", BASE64_URL_SAFE_NO_PAD.encode(next));
        let proof = BASE64_URL_SAFE_NO_PAD.encode(key.sign(&statement(&shown)));
        let pending = Self { seed, key: key.clone(), next: next.to_owned() };
        Ok((pending, format!("{shown}.{proof}")))
    }

    /// Reads a cookie; nothing where it is none of ours, was changed, or its time is over.
    pub(crate) fn resume(key: &SessionKey, cookie: &str, now: Timestamp) -> Option<Self> {
        if cookie.len() > COOKIE_BYTES_MAX {
            return None;
        }
        let (shown, proof) = cookie.rsplit_once('.')?;
        let proof = BASE64_URL_SAFE_NO_PAD.decode(proof).ok()?;
        if !key.has_signed(&statement(shown), &proof) {
            return None;
        }
        let mut parts = shown.split('.');
        let (seed, ends_at, next) = (parts.next()?, parts.next()?.parse::<i64>().ok()?, parts.next()?);
        let next = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(next).ok()?).ok()?;
        (now.as_second() < ends_at).then(|| Self { seed: seed.to_owned(), key: key.clone(), next })
    }

    /// What comes back with the browser.
    pub(crate) fn state(&self) -> String {
        self.derived("state")
    }

    /// What comes back in what the provider signs.
    pub(crate) fn nonce(&self) -> String {
        self.derived("nonce")
    }

    /// What proves that whoever redeems the code is whoever asked for it (PKCE); the browser never learns it.
    pub(crate) fn verifier(&self) -> String {
        self.derived("verifier")
    }

    /// Says whether this is the state that came back.
    pub(crate) fn is_state(&self, sent: &str) -> bool {
        let sent = BASE64_URL_SAFE_NO_PAD.decode(sent).unwrap_or_default();
        self.key.has_signed(&self.purpose("state"), &sent)
    }

    fn derived(&self, purpose: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.key.sign(&self.purpose(purpose)))
    }

    fn purpose(&self, purpose: &str) -> Vec<u8> {
        format!("hambar login {purpose}\0{}", self.seed).into_bytes()
    }
}

fn statement(shown: &str) -> Vec<u8> {
    format!("hambar login\0{shown}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn whichever_server_has_the_key_knows_what_was_begun_for_ten_minutes() {
        let secret = "a secret of more than thirty-two characters";
        let (one, two) = (SessionKey::of(secret).unwrap(), SessionKey::of(secret).unwrap());
        let (begun, cookie) = Pending::begin(&one, "/sql?q=1", at("2026-01-01T00:00:00Z")).unwrap();
        let resumed = Pending::resume(&two, &cookie, at("2026-01-01T00:09:59Z")).unwrap();
        assert_eq!((resumed.next.as_str(), resumed.nonce()), ("/sql?q=1", begun.nonce()));
        assert_eq!((resumed.verifier(), resumed.verifier().len()), (begun.verifier(), 43));
        assert!(resumed.is_state(&begun.state()) && !resumed.is_state(&begun.nonce()) && !resumed.is_state(""));
        assert!(Pending::resume(&two, &cookie, at("2026-01-01T00:10:00Z")).is_none());
        assert!(Pending::resume(&SessionKey::random().unwrap(), &cookie, at("2026-01-01T00:00:01Z")).is_none());
        for part in [begun.state(), begun.nonce(), begun.verifier()] {
            assert!(!cookie.contains(&part), "the cookie does not hold what is derived from it");
        }
    }

    #[test]
    fn logins_have_nothing_in_common_and_changed_cookies_are_none() {
        let key = SessionKey::random().unwrap();
        let now = at("2026-01-01T00:00:00Z");
        let (one, cookie) = Pending::begin(&key, "/", now).unwrap();
        let (two, _) = Pending::begin(&key, "/", now).unwrap();
        assert!(!one.is_state(&two.state()) && one.nonce() != two.nonce() && one.verifier() != two.verifier());
        let (long, _) = Pending::begin(&key, &format!("/{}", "x".repeat(NEXT_BYTES_MAX)), now).unwrap();
        assert_eq!(long.next, "/");
        let parts: Vec<&str> = cookie.split('.').collect();
        let elsewhere = BASE64_URL_SAFE_NO_PAD.encode("//evil.example");
        for wrong in [
            String::new(),
            ".".repeat(3),
            format!("{}.{}.{elsewhere}.{}", parts[0], parts[1], parts[3]),
            format!("{}.99999999999.{}.{}", parts[0], parts[2], parts[3]),
            "x".repeat(COOKIE_BYTES_MAX + 1),
        ] {
            assert!(Pending::resume(&key, &wrong, now).is_none(), "{wrong}");
        }
    }
}
