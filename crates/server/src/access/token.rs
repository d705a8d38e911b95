//! Tokens: 256 random bits, shown once. The bucket keeps a SHA-256, which is enough for a secret that nobody can guess,
//! and a SCRAM verifier for protocols in which the secret itself is not sent.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};
use serde::{Deserialize, Serialize};

use super::AccessError;

/// Tokens start so, so that scanners of leaked secrets know them.
const PREFIX: &str = "hbr_";
/// Random bytes of a token.
const SECRET_BYTES: usize = 32;
/// Random bytes of a token's id.
const ID_BYTES: usize = 9;
/// Rounds of SCRAM; RFC 7677 asks for 4 096 or more, and recommends 15 000.
pub(crate) const SCRAM_ITERATIONS: NonZeroU32 = NonZeroU32::new(15_000).expect("fifteen thousand is not zero");
/// Bytes of a SCRAM salt.
const SALT_BYTES: usize = 16;

/// A token's text. Shown to its owner once, and never printed.
#[derive(Clone)]
pub struct TokenSecret(String);

impl TokenSecret {
    pub(crate) fn random() -> Result<Self, AccessError> {
        let mut bytes = [0_u8; SECRET_BYTES];
        fill(&mut bytes)?;
        Ok(Self(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// Returns the text, to be shown to its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenSecret")
    }
}

/// What a server needs to know of a secret to check a SCRAM-SHA-256 proof of it (RFC 5802), in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScramVerifier {
    /// The salt.
    pub salt: String,
    /// Rounds.
    pub iterations: u32,
    /// SHA-256 of the client's key.
    pub stored_key: String,
    /// The server's key.
    pub server_key: String,
}

impl ScramVerifier {
    pub(crate) fn of(secret: &TokenSecret) -> Result<Self, AccessError> {
        let mut salt = [0_u8; SALT_BYTES];
        fill(&mut salt)?;
        let mut salted = [0_u8; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, SCRAM_ITERATIONS, &salt, secret.0.as_bytes(), &mut salted);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let client_key = hmac::sign(&key, b"Client Key");
        let server_key = hmac::sign(&key, b"Server Key");
        Ok(Self {
            salt: BASE64_STANDARD.encode(salt),
            iterations: SCRAM_ITERATIONS.get(),
            stored_key: BASE64_STANDARD.encode(digest::digest(&digest::SHA256, client_key.as_ref())),
            server_key: BASE64_STANDARD.encode(server_key),
        })
    }
}

/// The hash under which a token is kept and found. Whoever times the search learns about hashes, not about tokens.
pub(crate) fn hash(secret: &str) -> String {
    digest::digest(&digest::SHA256, secret.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A token's id: names it in logs and commands.
pub(crate) fn random_id() -> Result<String, AccessError> {
    let mut bytes = [0_u8; ID_BYTES];
    fill(&mut bytes)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// Fills the bytes with random ones.
pub(super) fn fill(bytes: &mut [u8]) -> Result<(), AccessError> {
    SystemRandom::new().fill(bytes).map_err(|_| AccessError::Random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_unique_and_never_printed() {
        let (one, other) = (TokenSecret::random().unwrap(), TokenSecret::random().unwrap());
        assert!(one.reveal().starts_with(PREFIX) && one.reveal().len() == PREFIX.len() + 43);
        assert_ne!(one.reveal(), other.reveal());
        assert!(!format!("{one:?}").contains(&one.reveal()[4..]));
        assert_eq!(hash(one.reveal()).len(), 64);
    }

    #[test]
    fn a_verifier_is_that_of_rfc_5802() {
        let secret = TokenSecret::random().unwrap();
        let verifier = ScramVerifier::of(&secret).unwrap();
        // The client's side of the same derivation.
        let salt = BASE64_STANDARD.decode(&verifier.salt).unwrap();
        let mut salted = [0_u8; 32];
        let rounds = NonZeroU32::new(verifier.iterations).unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, secret.reveal().as_bytes(), &mut salted);
        let client_key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &salted), b"Client Key");
        let stored = digest::digest(&digest::SHA256, client_key.as_ref());
        assert_eq!(BASE64_STANDARD.encode(stored), verifier.stored_key);
    }
}
