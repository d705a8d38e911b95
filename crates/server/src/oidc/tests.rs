//! Logins at a provider that lies: none of them goes well, and nothing that is secret is in what is written down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use super::hostile::{CLIENT, Hostile, ISSUER, Lie, NOW, SECRET, basic};
use super::provider::Patience;
use super::{Back, Failed, LoginFailure, Oidc, OidcLogin, OidcSettings, Outbound, Recognised};
use crate::access::SessionKey;
use crate::access::pending::Pending;

/// Settings that let mail addresses in, and nobody else.
pub(super) fn settings() -> OidcSettings {
    OidcSettings {
        issuer: ISSUER.parse().unwrap(),
        issuer_text: ISSUER.to_owned(),
        name: "Example".to_owned(),
        client_id: CLIENT.to_owned(),
        client_secret: Some(SECRET.to_owned()),
        scopes: vec!["openid".to_owned(), "email".to_owned()],
        member_claim: "email".to_owned(),
        groups_claim: None,
        groups: Vec::new(),
        everybody: None,
        centre: "https://data.example".to_owned(),
    }
}

struct Bench {
    oidc: Oidc,
    provider: Arc<Hostile>,
    key: SessionKey,
}

impl Bench {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: OidcSettings) -> Self {
        Self::patient(settings, Patience::default())
    }

    fn patient(settings: OidcSettings, patience: Patience) -> Self {
        let provider = Arc::new(Hostile::default());
        let outbound = Arc::clone(&provider) as Arc<dyn Outbound>;
        let oidc = Oidc::patient(OidcLogin { settings, outbound }, patience);
        Self { oidc, provider, key: SessionKey::random().unwrap() }
    }

    fn begin(&self) -> (Pending, String) {
        Pending::begin(&self.key, "/sql", now()).unwrap()
    }

    /// Goes to the provider and comes back, as the browser with this cookie.
    async fn back(&self, cookie: &str) -> Result<Back, Failed> {
        let pending = Pending::resume(&self.key, cookie, now()).unwrap();
        let address = self.oidc.address(&pending, "bg").await?;
        let code = Some(self.provider.logged_in(&address));
        Ok(Back { code, state: Some(pending.state()), ..Back::default() })
    }

    async fn finish(&self, cookie: &str, back: Back) -> Result<Recognised, Failed> {
        self.oidc.finish(Pending::resume(&self.key, cookie, now()), back, now()).await
    }

    /// A whole login.
    async fn log_in(&self) -> Result<Recognised, Failed> {
        let (_, cookie) = self.begin();
        let back = self.back(&cookie).await?;
        self.finish(&cookie, back).await
    }

    async fn fails(&self) -> (LoginFailure, String) {
        let failed = self.log_in().await.unwrap_err();
        for secret in [SECRET, "hunter2", "code-"] {
            assert!(!failed.why.contains(secret), "{failed:?}");
        }
        (failed.failure, failed.why)
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

#[tokio::test]
async fn whoever_is_vouched_for_is_recognised_and_the_provider_is_asked_once() {
    let bench = Bench::new();
    assert_eq!(bench.log_in().await.unwrap(), Recognised { name: "ana@uni.bg".to_owned(), grant: None });
    assert_eq!(bench.provider.asked(), ["/.well-known/openid-configuration", "/keys", "/token"]);
    assert_eq!(bench.provider.proof(), Some(basic()));
    bench.log_in().await.unwrap();
    assert_eq!(bench.provider.asked(), ["/token"]);
    // A public client proves itself with PKCE alone.
    let public = Bench::with(OidcSettings { client_secret: None, ..settings() });
    public.log_in().await.unwrap();
    assert_eq!(public.provider.proof(), None);
    let ending = bench.oidc.ending().await.unwrap();
    let asked = "realm=1&client_id=hambar&post_logout_redirect_uri=https%3A%2F%2Fdata.example%2F";
    assert_eq!(ending.as_str(), format!("https://login.example/logout?{asked}"));
}

#[tokio::test]
async fn tokens_that_lie_log_nobody_in() {
    let bench = Bench::new();
    bench.log_in().await.unwrap();
    use LoginFailure::{Clock, Unproven};
    for (lie, expected, said) in [
        (Lie::Issuer, Unproven, "Invalid issuer"),
        (Lie::Audience, Unproven, "Invalid audiences"),
        (Lie::MoreAudiences, Unproven, "not a trusted audience"),
        (Lie::Party, Unproven, "azp"),
        (Lie::NoAlgorithm, Unproven, "No signature found"),
        (Lie::PublicKeyAsSecret, Unproven, "Disallowed signature algorithm"),
        (Lie::SecretAsSecret, Unproven, "Disallowed signature algorithm"),
        (Lie::OtherKeyOfSameName, Unproven, "Crypto error"),
        (Lie::UnknownKey, Unproven, "a key that the provider does not show"),
        (Lie::AccessToken, Unproven, "JWT type"),
        (Lie::Expired, Clock, "expired"),
        (Lie::Future, Clock, "in the future"),
        (Lie::NotYet, Clock, "does not hold yet"),
        (Lie::Nonce, Unproven, "nonce mismatch"),
        (Lie::NoNonce, Unproven, "missing nonce"),
        (Lie::NoToken, Unproven, "no ID token"),
    ] {
        bench.provider.lie(lie);
        let (failure, why) = bench.fails().await;
        assert!(failure == expected && why.contains(said), "{lie:?}: {failure:?} {why}");
    }
    // Clocks that differ by less than a minute do no harm.
    bench.provider.lie(Lie::JustExpired);
    bench.log_in().await.unwrap();
}

#[tokio::test]
async fn a_provider_that_answers_otherwise_is_not_believed_and_not_repeated() {
    use LoginFailure::{Setup, Unreachable};
    for (lie, expected, said) in [
        (Lie::OtherDocument, Unreachable, "unexpected issuer"),
        (Lie::PlainEndpoint, Unreachable, "does not begin with `https://`"),
        (Lie::HugeDocument, Unreachable, "more than 262144 bytes"),
        (Lie::Down, Unreachable, "502"),
        (Lie::Garbage, Unreachable, "cannot be read"),
        (Lie::Redirect, Setup, "moved"),
        (Lie::Echo, Setup, "invalid_client"),
    ] {
        let bench = Bench::new();
        bench.provider.lie(lie);
        let (failure, why) = bench.fails().await;
        assert!(failure == expected && why.contains(said), "{lie:?}: {failure:?} {why}");
    }
}

#[tokio::test]
async fn a_provider_that_is_slow_or_down_is_not_asked_by_everybody() {
    let exchange = Duration::from_millis(300);
    let patience = Patience { exchange, failed: Duration::from_millis(1500), ..Patience::default() };
    let bench = Bench::patient(settings(), patience);
    bench.provider.lie(Lie::Slow);
    let begun = Instant::now();
    let many = futures::future::join_all((0..50).map(|_| bench.log_in())).await;
    assert!(many.iter().all(|login| login.as_ref().is_err_and(|failed| failed.failure == LoginFailure::Unreachable)));
    // One has waited for the provider, and all others for that one.
    assert!(begun.elapsed() < 3 * exchange, "{:?}", begun.elapsed());
    bench.provider.lie(Lie::None);
    assert!(bench.fails().await.1.contains("a moment ago"));
    tokio::time::sleep(patience.failed).await;
    bench.log_in().await.unwrap();
    assert_eq!(bench.provider.asked().len(), 3);
}

#[tokio::test]
async fn what_was_known_is_used_for_a_while_where_the_provider_is_down() {
    let short = Duration::from_millis(200);
    let patience = Patience { known: short, known_max: 10 * short, failed: short, ..Patience::default() };
    let bench = Bench::patient(settings(), patience);
    bench.log_in().await.unwrap();
    tokio::time::sleep(short).await;
    bench.provider.lie(Lie::Down);
    let (_, cookie) = bench.begin();
    // The browser gets there, but the code cannot be redeemed while it lasts.
    let back = bench.back(&cookie).await.unwrap();
    assert_eq!(bench.finish(&cookie, back.clone()).await.unwrap_err().failure, LoginFailure::Unreachable);
    bench.provider.lie(Lie::None);
    bench.finish(&cookie, back).await.unwrap();
    bench.provider.lie(Lie::Down);
    tokio::time::sleep(11 * short).await;
    let (failure, why) = bench.fails().await;
    assert!(failure == LoginFailure::Unreachable && why.contains("502"), "{failure:?} {why}");
}

#[tokio::test]
async fn new_keys_are_taken_over_and_not_looked_for_all_the_time() {
    let patience = Patience { keys: Duration::from_secs(2), ..Patience::default() };
    let bench = Bench::patient(settings(), patience);
    bench.log_in().await.unwrap();
    bench.provider.asked();
    bench.provider.rotate();
    bench.log_in().await.unwrap();
    assert_eq!(bench.provider.asked(), ["/token", "/keys"]);
    bench.provider.lie(Lie::UnknownKey);
    for _ in 0..5 {
        assert_eq!(bench.fails().await.0, LoginFailure::Unproven);
    }
    assert_eq!(bench.provider.asked(), ["/token"; 5]);
    tokio::time::sleep(patience.keys).await;
    bench.fails().await;
    assert_eq!(bench.provider.asked(), ["/token", "/keys"]);
}

#[tokio::test]
async fn a_login_is_one_browsers_and_once() {
    let bench = Bench::new();
    let ((_, ana), (_, mallory)) = (bench.begin(), bench.begin());
    let (of_ana, of_mallory) = (bench.back(&ana).await.unwrap(), bench.back(&mallory).await.unwrap());
    let failure = |login: Result<Recognised, Failed>| login.unwrap_err().failure;
    // The way back of another browser, which would log somebody in as somebody else.
    assert_eq!(failure(bench.finish(&ana, of_mallory.clone()).await), LoginFailure::Stale);
    assert_eq!(failure(bench.oidc.finish(None, of_mallory.clone(), now()).await), LoginFailure::Stale);
    // A code that was put into the way back of another login: it is redeemed with the wrong proof, and its nonce is not this one's.
    let mixed = Back { code: of_mallory.code.clone(), ..of_ana.clone() };
    assert_eq!(failure(bench.finish(&ana, mixed).await), LoginFailure::Stale);
    bench.finish(&ana, of_ana.clone()).await.unwrap();
    assert_eq!(failure(bench.finish(&ana, of_ana.clone()).await), LoginFailure::Stale);
    for back in [
        Back { state: None, ..of_ana.clone() },
        Back { state: Some(String::new()), ..of_ana.clone() },
        Back { state: Some("x".repeat(10_000)), ..of_ana.clone() },
    ] {
        assert_eq!(failure(bench.finish(&ana, back).await), LoginFailure::Stale);
    }
    let elsewhere = Back { issuer: Some("https://evil.example".to_owned()), ..of_ana.clone() };
    assert_eq!(failure(bench.finish(&ana, elsewhere).await), LoginFailure::Unproven);
    let no_code = Back { code: None, ..of_ana };
    assert_eq!(failure(bench.finish(&ana, no_code).await), LoginFailure::Unreachable);
}

#[tokio::test]
async fn what_the_provider_refuses_is_told_apart() {
    let bench = Bench::new();
    let (pending, cookie) = bench.begin();
    for (error, expected) in [
        ("access_denied", LoginFailure::Cancelled),
        ("temporarily_unavailable", LoginFailure::Unreachable),
        ("invalid_scope", LoginFailure::Setup),
        ("<script>\u{1b}[31m", LoginFailure::Setup),
    ] {
        let back = Back { state: Some(pending.state()), error: Some(error.to_owned()), ..Back::default() };
        let failed = bench.finish(&cookie, back).await.unwrap_err();
        assert!(failed.failure == expected && !failed.why.contains('\u{1b}'), "{failed:?}");
    }
    bench.provider.says(json!({"sub": "7", "email": "ana@uni.bg"}));
    assert_eq!(bench.fails().await.0, LoginFailure::Unverified);
    bench.provider.says(json!({"sub": "7"}));
    assert_eq!(bench.fails().await.0, LoginFailure::Claim);
}
