//! A provider for tests that tells the truth until it is told to lie. It checks what a careful provider checks: each code is
//! good for one use, by whoever can prove that they asked for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::StatusCode;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use ring::{digest, hmac};
use serde_json::{Value, json};
use url::Url;

use super::{Outbound, OutboundAnswer, OutboundError, OutboundLimits, OutboundRequest};

/// How the provider calls itself.
pub(super) const ISSUER: &str = "https://login.example";
/// Where browsers come back to.
pub(super) const CALLBACK: &str = "https://data.example/login/callback";
/// What the centre is called there.
pub(super) const CLIENT: &str = "hambar";
/// What it proves itself with; not all of it can stand in a header as it is.
pub(super) const SECRET: &str = "hunter2 :%ü";
/// When everything happens, in seconds.
pub(super) const NOW: i64 = 1_767_225_600;

/// What the provider lies about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    None,
    Issuer,
    Audience,
    MoreAudiences,
    Party,
    NoAlgorithm,
    PublicKeyAsSecret,
    SecretAsSecret,
    OtherKeyOfSameName,
    UnknownKey,
    AccessToken,
    Expired,
    JustExpired,
    Future,
    NotYet,
    Nonce,
    NoNonce,
    NoToken,
    Garbage,
    Redirect,
    Echo,
    OtherDocument,
    PlainEndpoint,
    HugeDocument,
    Slow,
    Down,
}

/// The provider.
#[derive(Debug)]
pub(super) struct Hostile(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    lie: Lie,
    keys: Vec<(String, EcdsaKeyPair)>,
    codes: BTreeMap<String, BTreeMap<String, String>>,
    claims: Value,
    asked: Vec<String>,
    /// What the token endpoint was proven with the last time.
    proof: Option<String>,
}

impl Default for Hostile {
    fn default() -> Self {
        let claims = json!({"sub": "7", "email": "ana@uni.bg", "email_verified": true});
        let keys = vec![("one".to_owned(), key())];
        let (codes, asked) = (BTreeMap::new(), Vec::new());
        Self(Mutex::new(Inner { lie: Lie::None, keys, codes, claims, asked, proof: None }))
    }
}

fn key() -> EcdsaKeyPair {
    let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let document = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(kind, document.as_ref(), &random).unwrap()
}

impl Hostile {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub(super) fn lie(&self, lie: Lie) {
        self.inner().lie = lie;
    }

    /// Signs with another key from now on; the one before is forgotten.
    pub(super) fn rotate(&self) {
        let mut inner = self.inner();
        let name = format!("{}x", inner.keys[0].0);
        inner.keys = vec![(name, key())];
    }

    /// What it says of whoever logs in.
    pub(super) fn says(&self, claims: Value) {
        self.inner().claims = claims;
    }

    /// The paths that it was asked for, since the last time.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.inner().asked)
    }

    /// What the token endpoint was proven with the last time.
    pub(super) fn proof(&self) -> Option<String> {
        self.inner().proof.clone()
    }

    /// What happens at the provider while the browser is there; returns the code.
    pub(super) fn logged_in(&self, address: &Url) -> String {
        let asked: BTreeMap<String, String> = address.query_pairs().into_owned().collect();
        assert_eq!(address.as_str().split('?').next(), Some("https://login.example/authorize"));
        assert_eq!((asked["client_id"].as_str(), asked["redirect_uri"].as_str()), (CLIENT, CALLBACK));
        assert_eq!((asked["response_type"].as_str(), asked["code_challenge_method"].as_str()), ("code", "S256"));
        assert!(asked["scope"].split(' ').any(|scope| scope == "openid"), "{asked:?}");
        let mut inner = self.inner();
        let code = format!("code-{}", inner.codes.len());
        inner.codes.insert(code.clone(), asked);
        code
    }
}

impl Outbound for Hostile {
    fn send(
        &self,
        request: OutboundRequest,
        limits: OutboundLimits,
    ) -> BoxFuture<'_, Result<OutboundAnswer, OutboundError>> {
        async move {
            let lie = self.inner().lie;
            let late = || OutboundError(format!("it took {:?}", limits.time_max));
            let pause = if lie == Lie::Slow { Duration::from_secs(3600) } else { Duration::ZERO };
            tokio::time::timeout(limits.time_max, tokio::time::sleep(pause)).await.map_err(|_| late())?;
            let answer = self.inner().answer(&request);
            match answer.body().len() > limits.body_bytes_max {
                true => Err(OutboundError(format!("more than {} bytes", limits.body_bytes_max))),
                false => Ok(answer),
            }
        }
        .boxed()
    }
}

fn answer(status: StatusCode, body: impl ToString) -> OutboundAnswer {
    let built = http::Response::builder().status(status).header("content-type", "application/json");
    built.body(body.to_string().into_bytes()).unwrap()
}

impl Inner {
    fn answer(&mut self, request: &OutboundRequest) -> OutboundAnswer {
        assert_eq!(request.uri().host(), Some("login.example"), "{}", request.uri());
        let path = request.uri().path().to_owned();
        self.asked.push(path.clone());
        match (path.as_str(), self.lie) {
            (_, Lie::Down) => answer(StatusCode::BAD_GATEWAY, "<html>"),
            ("/.well-known/openid-configuration", lie) => answer(StatusCode::OK, document(lie)),
            ("/keys", _) => answer(StatusCode::OK, self.shown_keys()),
            ("/token", Lie::Redirect) => {
                let built = http::Response::builder().status(307).header("location", "https://evil.example/token");
                built.body(b"{\"error\":\"moved\"}".to_vec()).unwrap()
            }
            ("/token", Lie::Garbage) => answer(StatusCode::OK, "{\"access_token\": 7"),
            ("/token", _) => self.redeemed(request),
            _ => answer(StatusCode::NOT_FOUND, "{}"),
        }
    }

    fn shown_keys(&self) -> Value {
        let shown = |(name, key): &(String, EcdsaKeyPair)| {
            let point = key.public_key().as_ref();
            let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
            let (x, y) = (text(&point[1..33]), text(&point[33..]));
            json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": name, "x": x, "y": y})
        };
        // Keys of kinds that nobody knows are left out, and are no reason to refuse the others.
        let mut keys: Vec<Value> = self.keys.iter().map(shown).collect();
        keys.push(json!({"kty": "future", "kid": "?"}));
        json!({ "keys": keys })
    }

    fn redeemed(&mut self, request: &OutboundRequest) -> OutboundAnswer {
        let refused = |error: &str| answer(StatusCode::BAD_REQUEST, json!({ "error": error }));
        let sent: BTreeMap<String, String> = url::form_urlencoded::parse(request.body()).into_owned().collect();
        self.proof = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        if self.lie == Lie::Echo {
            let said = format!("the client said {SECRET}, {}, {}", sent["code"], sent["code_verifier"]);
            let body = json!({"error": "invalid_client", "error_description": said});
            return answer(StatusCode::UNAUTHORIZED, body);
        }
        let Some(asked) = self.codes.remove(&sent["code"]) else { return refused("invalid_grant") };
        let challenge = digest::digest(&digest::SHA256, sent["code_verifier"].as_bytes());
        let is_proven = BASE64_URL_SAFE_NO_PAD.encode(challenge) == asked["code_challenge"];
        if !is_proven || sent["redirect_uri"] != CALLBACK || sent["grant_type"] != "authorization_code" {
            return refused("invalid_grant");
        }
        let mut body = json!({"access_token": "at-hunter2", "token_type": "Bearer", "expires_in": 300});
        if self.lie != Lie::NoToken {
            body["id_token"] = Value::String(self.token(&asked["nonce"]));
        }
        answer(StatusCode::OK, body)
    }

    fn token(&self, nonce: &str) -> String {
        let claims = self.claims_of(nonce);
        let (name, key) = &self.keys[0];
        let mut head = json!({"alg": "ES256", "typ": "JWT", "kid": name});
        match self.lie {
            Lie::NoAlgorithm => head = json!({"alg": "none", "typ": "JWT"}),
            Lie::PublicKeyAsSecret | Lie::SecretAsSecret => head["alg"] = json!("HS256"),
            Lie::UnknownKey => head["kid"] = json!("unknown"),
            Lie::AccessToken => head["typ"] = json!("at+jwt"),
            _ => {}
        }
        let text = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", text(&head), text(&claims));
        let proof = match self.lie {
            Lie::NoAlgorithm => Vec::new(),
            Lie::PublicKeyAsSecret => mac(key.public_key().as_ref(), &signed),
            Lie::SecretAsSecret => mac(SECRET.as_bytes(), &signed),
            Lie::OtherKeyOfSameName => sign(&self::key(), &signed),
            _ => sign(key, &signed),
        };
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(proof))
    }

    fn claims_of(&self, nonce: &str) -> Value {
        let mut claims = json!({"iss": ISSUER, "aud": CLIENT, "iat": NOW, "exp": NOW + 300, "nonce": nonce});
        for (name, value) in self.claims.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let (name, value) = match self.lie {
            Lie::Issuer => ("iss", json!("https://login.example.evil.example")),
            Lie::Audience => ("aud", json!("another")),
            Lie::MoreAudiences => ("aud", json!([CLIENT, "another"])),
            Lie::Party => ("azp", json!("another")),
            Lie::Expired => ("exp", json!(NOW - 61)),
            Lie::JustExpired => ("exp", json!(NOW - 30)),
            Lie::Future => ("iat", json!(NOW + 61)),
            Lie::NotYet => ("nbf", json!(NOW + 61)),
            Lie::Nonce => ("nonce", json!("another")),
            Lie::NoNonce => ("nonce", Value::Null),
            _ => return claims,
        };
        claims[name] = value;
        claims
    }
}

fn sign(key: &EcdsaKeyPair, text: &str) -> Vec<u8> {
    key.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec()
}

fn mac(secret: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes()).as_ref().to_vec()
}

fn document(lie: Lie) -> Value {
    let mut document = json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://login.example/authorize",
        "token_endpoint": "https://login.example/token",
        "jwks_uri": "https://login.example/keys",
        "end_session_endpoint": "https://login.example/logout?realm=1",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        // What it announces does not make it allowed.
        "id_token_signing_alg_values_supported": ["none", "HS256", "ES256"],
    });
    match lie {
        Lie::OtherDocument => document["issuer"] = json!("https://evil.example"),
        Lie::PlainEndpoint => document["token_endpoint"] = json!("http://login.example/token"),
        Lie::HugeDocument => document["padding"] = json!("x".repeat(300 * 1024)),
        _ => {}
    }
    document
}

/// How basic authentication writes the client's proof (RFC 6749, 2.3.1).
pub(super) fn basic() -> String {
    let part = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", part(CLIENT), part(SECRET))))
}
