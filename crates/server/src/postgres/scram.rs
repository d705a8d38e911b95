//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side: a token is proven and never sent. Strict: a message with
//! anything more or less in it than it should have is no proof.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};

use crate::access::{SCRAM_ITERATIONS, ScramVerifier, TokenRecord};

/// The mechanism's name.
pub(super) const MECHANISM: &str = "SCRAM-SHA-256";
/// Random bytes of the server's part of the nonce.
const NONCE_BYTES: usize = 18;
/// Characters of the client's part.
const CLIENT_NONCE_CHARS_MAX: usize = 256;
/// Bytes of a made-up salt.
const SALT_BYTES: usize = 16;

/// What makes the salts of users that do not exist look like those of users that do.
pub(super) struct Disguise(hmac::Key);

impl Disguise {
    pub(super) fn random() -> Option<Self> {
        let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// A verifier that no proof fits, always the same for one name.
    fn verifier(&self, user: &str) -> ScramVerifier {
        let made = |what: &str| hmac::sign(&self.0, format!("{what} {user}").as_bytes());
        ScramVerifier {
            salt: BASE64_STANDARD.encode(made("salt").as_ref().get(..SALT_BYTES).unwrap_or_default()),
            iterations: SCRAM_ITERATIONS.get(),
            stored_key: BASE64_STANDARD.encode(made("stored")),
            server_key: BASE64_STANDARD.encode(made("server")),
        }
    }
}

/// A proof under way.
pub(super) struct Exchange {
    /// Whose token it is about; nobody's where there is no such user.
    record: Option<TokenRecord>,
    verifier: ScramVerifier,
    header: String,
    client_first: String,
    nonce: String,
    /// What the client is asked.
    pub(super) challenge: String,
}

impl Exchange {
    /// Begins with the client's first message. Nothing comes of one that is not as it should be.
    pub(super) fn begin(user: &str, record: Option<TokenRecord>, disguise: &Disguise, first: &[u8]) -> Option<Self> {
        let verifier = record.as_ref().map_or_else(|| disguise.verifier(user), |record| record.scram.clone());
        let first = std::str::from_utf8(first).ok()?;
        // `y` is a client that could bind to the channel and knows that it is not offered here.
        let header = ["n,,", "y,,"].into_iter().find(|header| first.starts_with(header))?;
        let bare = first.strip_prefix(header)?;
        // The user's name is that of the connection, whatever stands here.
        let (name, nonce) = bare.split_once(',')?;
        let client_nonce = nonce.strip_prefix("r=")?;
        let is_printable = client_nonce.chars().all(|character| matches!(character, '!'..='~') && character != ',');
        if !name.starts_with("n=") || client_nonce.is_empty() || !is_printable {
            return None;
        }
        if client_nonce.len() > CLIENT_NONCE_CHARS_MAX {
            return None;
        }
        let mut random = [0; NONCE_BYTES];
        SystemRandom::new().fill(&mut random).ok()?;
        let nonce = format!("{client_nonce}{}", BASE64_STANDARD.encode(random));
        let challenge = format!("r={nonce},s={},i={}", verifier.salt, verifier.iterations);
        Some(Self { record, verifier, header: header.to_owned(), client_first: bare.to_owned(), nonce, challenge })
    }

    /// Judges the proof. Returns whose token it is and what proves that the server knows it, too.
    pub(super) fn finish(self, last: &[u8]) -> Option<(TokenRecord, String)> {
        let last = std::str::from_utf8(last).ok()?;
        let (without_proof, proof) = last.rsplit_once(",p=")?;
        let wanted = format!("c={},r={}", BASE64_STANDARD.encode(&self.header), self.nonce);
        let proof = BASE64_STANDARD.decode(proof).ok()?;
        if without_proof != wanted || proof.len() != digest::SHA256_OUTPUT_LEN {
            return None;
        }
        let stored_key = BASE64_STANDARD.decode(&self.verifier.stored_key).ok()?;
        let server_key = BASE64_STANDARD.decode(&self.verifier.server_key).ok()?;
        let said = format!("{},{},{without_proof}", self.client_first, self.challenge);
        let sign = |key: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), said.as_bytes());
        let signature = sign(&stored_key);
        let client_key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(one, other)| one ^ other).collect();
        let is_proven = is_same(digest::digest(&digest::SHA256, &client_key).as_ref(), &stored_key);
        // Last, so that a user that does not exist takes the same steps.
        let record = self.record?;
        is_proven.then(|| (record, format!("v={}", BASE64_STANDARD.encode(sign(&server_key)))))
    }
}

/// Compares without stopping at the first difference.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use ring::pbkdf2;

    use super::*;

    const SECRET: &str = "hbr_secret";

    fn record() -> TokenRecord {
        let (scram, _) = keys(SECRET, b"0123456789abcdef");
        serde_json::from_value(serde_json::json!({
            "id": "id", "organisation": "tests", "name": "ana", "role": "reader", "scopes": ["*"], "sha256": "",
            "scram": scram, "created_at": "2026-01-01T00:00:00Z", "expires_at": null, "revoked_at": null,
        }))
        .unwrap()
    }

    fn keys(secret: &str, salt: &[u8]) -> (ScramVerifier, Vec<u8>) {
        let mut salted = [0; 32];
        let rounds = NonZeroU32::new(4096).unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, secret.as_bytes(), &mut salted);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let client = hmac::sign(&key, b"Client Key").as_ref().to_vec();
        let verifier = ScramVerifier {
            salt: BASE64_STANDARD.encode(salt),
            iterations: 4096,
            stored_key: BASE64_STANDARD.encode(digest::digest(&digest::SHA256, &client)),
            server_key: BASE64_STANDARD.encode(hmac::sign(&key, b"Server Key")),
        };
        (verifier, client)
    }

    /// The client's last message for the challenge, before somebody changes it.
    fn answer(exchange: &Exchange, secret: &str) -> String {
        let (verifier, client) = keys(secret, b"0123456789abcdef");
        let without = format!("c=biws,r={}", exchange.nonce);
        let said = format!("{},{},{without}", exchange.client_first, exchange.challenge);
        let stored = BASE64_STANDARD.decode(verifier.stored_key).unwrap();
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &stored), said.as_bytes());
        let proof: Vec<u8> = client.iter().zip(signature.as_ref()).map(|(one, other)| one ^ other).collect();
        format!("{without},p={}", BASE64_STANDARD.encode(proof))
    }

    fn begin(first: &str) -> Option<Exchange> {
        Exchange::begin("tests/ana", Some(record()), &Disguise::random().unwrap(), first.as_bytes())
    }

    #[test]
    fn only_the_right_proof_is_one() {
        let exchange = || begin("n,,n=,r=abc").unwrap();
        let proven = exchange();
        let last = answer(&proven, SECRET);
        let (record, signature) = proven.finish(last.as_bytes()).unwrap();
        assert!(record.id == "id" && signature.starts_with("v="));
        let wrong = exchange();
        let last = answer(&wrong, "hbr_other");
        assert!(wrong.finish(last.as_bytes()).is_none());
        // Another exchange's proof, something after it, another binding, something between.
        let (one, other) = (exchange(), exchange());
        let last = answer(&one, SECRET);
        assert!(other.finish(last.as_bytes()).is_none());
        let changes: [fn(&str) -> String; 6] = [
            |last| format!("{last}AAAA"),
            |last| format!("{last},x=1"),
            |last| last.replacen("c=biws", "c=eSws", 1),
            |last| last.replacen(",r=", ",m=1,r=", 1),
            |last| last.replacen(",p=", "x,p=", 1),
            |last| last.split(",p=").next().unwrap().to_owned(),
        ];
        for change in changes {
            let exchange = exchange();
            let last = change(&answer(&exchange, SECRET));
            assert!(exchange.finish(last.as_bytes()).is_none(), "{last}");
        }
    }

    #[test]
    fn first_messages_that_are_not_as_they_should_be_begin_nothing() {
        assert!(begin("y,,n=,r=abc").is_some());
        let long = format!("n,,n=,r={}", "x".repeat(CLIENT_NONCE_CHARS_MAX + 1));
        for wrong in ["", "n,,", "p=tls-unique,,n=,r=abc", "n,a=x,n=,r=abc", "n,,m=1,n=,r=abc", "n,,n=,r=", &long] {
            assert!(begin(wrong).is_none(), "{wrong}");
        }
        assert!(begin("n,,n=,r=abc,x=1").is_none() && begin("n,,n=,r=a\u{7}").is_none());
    }

    #[test]
    fn a_user_that_does_not_exist_looks_like_one_that_does() {
        let disguise = Disguise::random().unwrap();
        let begin = |user: &str| Exchange::begin(user, None, &disguise, b"n,,n=,r=abc").unwrap();
        let salt = |user: &str| begin(user).challenge.split(',').nth(1).unwrap().to_owned();
        assert_eq!(salt("nobody"), salt("nobody"));
        assert_ne!(salt("nobody"), salt("somebody"));
        let exchange = begin("nobody");
        let last = answer(&exchange, SECRET);
        assert!(exchange.finish(last.as_bytes()).is_none());
    }
}
