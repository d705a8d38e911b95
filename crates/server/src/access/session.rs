//! Sessions of the web page: a cookie that names a token, says when it ends, and proves both. The key of the proof is the
//! token's hash, which only the servers of a store know: every one of them accepts the cookie, nothing has to be written
//! down for it, and it ends with the token.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use ring::hmac;

use super::TokenRecord;

/// A session ends after so long, however it is used.
const LIFETIME: SignedDuration = SignedDuration::from_hours(12);
/// Bytes of a cookie that are looked at.
const COOKIE_BYTES_MAX: usize = 256;

/// A session that was just begun.
#[derive(Clone)]
pub(crate) struct NewSession {
    /// The cookie's value. As secret as the token, for as long as it lasts.
    pub(crate) cookie: String,
    /// How long it lasts.
    pub(crate) lifetime: SignedDuration,
}

/// What a cookie says, before it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim<'a> {
    /// The id of the token.
    pub(crate) token: &'a str,
    ends_at: i64,
    proof: &'a str,
}

/// Begins a session of a token's holder.
pub(crate) fn begin(record: &TokenRecord, now: Timestamp) -> NewSession {
    let ends_at = now.checked_add(LIFETIME).unwrap_or(Timestamp::MAX).as_second();
    let proof = hmac::sign(&key(record), &statement(&record.id, ends_at));
    let proof = BASE64_URL_SAFE_NO_PAD.encode(proof);
    NewSession { cookie: format!("{}.{ends_at}.{proof}", record.id), lifetime: LIFETIME }
}

/// Reads a cookie.
pub(crate) fn claim(cookie: &str) -> Option<Claim<'_>> {
    if cookie.len() > COOKIE_BYTES_MAX {
        return None;
    }
    let mut parts = cookie.split('.');
    let (token, ends_at, proof) = (parts.next()?, parts.next()?, parts.next()?);
    let claim = Claim { token, ends_at: ends_at.parse().ok()?, proof };
    parts.next().is_none().then_some(claim)
}

impl Claim<'_> {
    /// Says whether the claim is that of a session of `record` that goes on at `now`.
    pub(crate) fn is_proven(&self, record: &TokenRecord, now: Timestamp) -> bool {
        let Ok(proof) = BASE64_URL_SAFE_NO_PAD.decode(self.proof) else { return false };
        record.id == self.token
            && record.is_valid(now)
            && now.as_second() < self.ends_at
            && hmac::verify(&key(record), &statement(self.token, self.ends_at), &proof).is_ok()
    }
}

/// Returns what the forms of a session carry: whoever does not know the cookie cannot make it.
pub(crate) fn form_token(cookie: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, cookie.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, b"hambar form"))
}

/// Says whether a form was made for the session of `cookie`.
pub(crate) fn is_form_token(cookie: &str, sent: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, cookie.as_bytes());
    let sent = BASE64_URL_SAFE_NO_PAD.decode(sent).unwrap_or_default();
    hmac::verify(&key, b"hambar form", &sent).is_ok()
}

fn key(record: &TokenRecord) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, record.sha256.as_bytes())
}

fn statement(token: &str, ends_at: i64) -> Vec<u8> {
    format!("hambar session\0{token}\0{ends_at}").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::access::token::{self, ScramVerifier, TokenSecret};
    use crate::access::{Role, Scope};

    fn record(id: &str) -> TokenRecord {
        let secret = TokenSecret::random().unwrap();
        TokenRecord {
            id: id.to_owned(),
            organisation: "sofia".to_owned(),
            name: "ana".to_owned(),
            role: Role::Reader,
            scopes: BTreeSet::from([Scope::Everything]),
            sha256: token::hash(secret.reveal()),
            scram: ScramVerifier::of(&secret).unwrap(),
            created_at: at("2026-01-01T00:00:00Z"),
            expires_at: None,
            revoked_at: None,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_session_is_one_tokens_and_ends() {
        let (ana, other) = (record("ana"), record("ana"));
        let now = at("2026-01-01T08:00:00Z");
        let session = begin(&ana, now);
        let claim = claim(&session.cookie).unwrap();
        assert!(claim.is_proven(&ana, now) && claim.is_proven(&ana, at("2026-01-01T19:59:59Z")));
        assert!(!claim.is_proven(&ana, at("2026-01-01T20:00:00Z")));
        assert!(!claim.is_proven(&other, now), "the key is the token's own");
        let revoked = TokenRecord { revoked_at: Some(now), ..ana.clone() };
        assert!(!claim.is_proven(&revoked, now));
        let ended = TokenRecord { expires_at: Some(now), ..ana };
        assert!(!claim.is_proven(&ended, now));
    }

    #[test]
    fn a_cookie_that_was_changed_proves_nothing() {
        let ana = record("ana");
        let now = at("2026-01-01T08:00:00Z");
        let cookie = begin(&ana, now).cookie;
        let (rest, proof) = cookie.rsplit_once('.').unwrap();
        let (id, ends_at) = rest.split_once('.').unwrap();
        let later = ends_at.parse::<i64>().unwrap() + 1;
        for changed in [format!("{id}.{later}.{proof}"), format!("{rest}."), format!("{rest}.{proof}A")] {
            assert!(!claim(&changed).is_some_and(|claim| claim.is_proven(&ana, now)), "{changed}");
        }
        for broken in ["", ".", "..", "a.b.c", "a.1.b.c", &"x".repeat(300)] {
            assert!(!claim(broken).is_some_and(|claim| claim.is_proven(&ana, now)), "{broken}");
        }
    }

    #[test]
    fn a_form_belongs_to_its_session() {
        let token = form_token("one");
        assert!(is_form_token("one", &token) && !is_form_token("two", &token) && !is_form_token("one", ""));
    }
}
