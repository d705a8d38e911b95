//! Sessions of the web page: a cookie that names a token, says when it ends, and proves both. The proof covers the token's
//! hash: nothing has to be written down for a session, and it ends with the token. Its key is the servers' own and not in
//! the store, or everybody who may read the store could make sessions out of the hashes there.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use ring::hmac;

use super::{AccessError, TokenRecord, token};

/// A session ends after so long, however it is used.
const LIFETIME: SignedDuration = SignedDuration::from_hours(12);
/// Bytes of a cookie that are looked at.
const COOKIE_BYTES_MAX: usize = 256;

/// Characters that a key has at least.
const KEY_CHARACTERS_MIN: usize = 32;

/// What sessions are proven with. Servers that have the same one accept each other's sessions.
#[derive(Debug, Clone)]
pub struct SessionKey(hmac::Key);

impl SessionKey {
    /// Makes a key that no other server has.
    ///
    /// # Errors
    /// [`AccessError::Random`].
    pub fn random() -> Result<Self, AccessError> {
        let mut bytes = [0; 32];
        token::fill(&mut bytes)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// Makes the key that a secret stands for.
    ///
    /// # Errors
    /// [`AccessError::SessionKey`] where it can be guessed.
    pub fn of(secret: &str) -> Result<Self, AccessError> {
        if secret.chars().count() < KEY_CHARACTERS_MIN {
            return Err(AccessError::SessionKey { least: KEY_CHARACTERS_MIN });
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())))
    }

    /// Signs a statement, which says at its beginning what it is for.
    pub(super) fn sign(&self, statement: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, statement)
    }

    /// Says whether a statement was signed with this key.
    pub(super) fn has_signed(&self, statement: &[u8], proof: &[u8]) -> bool {
        hmac::verify(&self.0, statement, proof).is_ok()
    }
}

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
pub(crate) fn begin(record: &TokenRecord, now: Timestamp, key: &SessionKey) -> NewSession {
    let ends_at = now.checked_add(LIFETIME).unwrap_or(Timestamp::MAX).as_second();
    let proof = BASE64_URL_SAFE_NO_PAD.encode(key.sign(&statement(record, ends_at)));
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
    pub(crate) fn is_proven(&self, record: &TokenRecord, now: Timestamp, key: &SessionKey) -> bool {
        let Ok(proof) = BASE64_URL_SAFE_NO_PAD.decode(self.proof) else { return false };
        record.id == self.token
            && record.is_valid(now)
            && now.as_second() < self.ends_at
            && key.has_signed(&statement(record, self.ends_at), &proof)
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

fn statement(record: &TokenRecord, ends_at: i64) -> Vec<u8> {
    format!("hambar session\0{}\0{}\0{ends_at}", record.id, record.sha256).into_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::access::token::{ScramVerifier, TokenSecret};
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
            person: None,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_session_is_one_tokens_and_ends() {
        let (ana, other) = (record("ana"), record("ana"));
        let key = SessionKey::random().unwrap();
        let now = at("2026-01-01T08:00:00Z");
        let session = begin(&ana, now, &key);
        let claim = claim(&session.cookie).unwrap();
        assert!(claim.is_proven(&ana, now, &key) && claim.is_proven(&ana, at("2026-01-01T19:59:59Z"), &key));
        assert!(!claim.is_proven(&ana, at("2026-01-01T20:00:00Z"), &key));
        assert!(!claim.is_proven(&other, now, &key), "the session is the token's own");
        assert!(!claim.is_proven(&ana, now, &SessionKey::random().unwrap()), "and the server's");
        let revoked = TokenRecord { revoked_at: Some(now), ..ana.clone() };
        assert!(!claim.is_proven(&revoked, now, &key));
        let ended = TokenRecord { expires_at: Some(now), ..ana };
        assert!(!claim.is_proven(&ended, now, &key));
    }

    #[test]
    fn servers_with_one_secret_know_each_others_sessions() {
        let secret = "a secret of more than thirty-two characters";
        let (one, two) = (SessionKey::of(secret).unwrap(), SessionKey::of(secret).unwrap());
        let (ana, now) = (record("ana"), at("2026-01-01T08:00:00Z"));
        let session = begin(&ana, now, &one);
        assert!(claim(&session.cookie).unwrap().is_proven(&ana, now, &two));
        assert!(SessionKey::of("too short").unwrap_err().to_string().contains("at least 32 characters"));
    }

    #[test]
    fn a_cookie_that_was_changed_proves_nothing() {
        let ana = record("ana");
        let key = SessionKey::random().unwrap();
        let now = at("2026-01-01T08:00:00Z");
        let cookie = begin(&ana, now, &key).cookie;
        let (rest, proof) = cookie.rsplit_once('.').unwrap();
        let (id, ends_at) = rest.split_once('.').unwrap();
        let later = ends_at.parse::<i64>().unwrap() + 1;
        // What everybody can make who may read the store.
        let stored = hmac::Key::new(hmac::HMAC_SHA256, ana.sha256.as_bytes());
        let made = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&stored, &statement(&ana, later)));
        let own = format!("{id}.{later}.{made}");
        for changed in [format!("{id}.{later}.{proof}"), format!("{rest}."), format!("{rest}.{proof}A"), own] {
            assert!(!claim(&changed).is_some_and(|claim| claim.is_proven(&ana, now, &key)), "{changed}");
        }
        for broken in ["", ".", "..", "a.b.c", "a.1.b.c", &"x".repeat(300)] {
            assert!(!claim(broken).is_some_and(|claim| claim.is_proven(&ana, now, &key)), "{broken}");
        }
    }

    #[test]
    fn a_form_belongs_to_its_session() {
        let token = form_token("one");
        assert!(is_form_token("one", &token) && !is_form_token("two", &token) && !is_form_token("one", ""));
    }
}
