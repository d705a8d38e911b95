//! The two steps of a login elsewhere: where the browser is sent, and what is made of what it comes back with. The ID token
//! is believed when its signature, issuer, audience, times and nonce are proven.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hambar_core::Chain;
use jiff::{SignedDuration, Timestamp};
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdToken, CoreJwsSigningAlgorithm, CoreTokenResponse,
};
use openidconnect::{
    AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, ErrorResponse, IdTokenVerifier, IssuerUrl, LanguageTag, Nonce, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, SignatureVerificationError,
};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use url::Url;

use super::claims::Recognised;
use super::provider::{Metadata, Patience, Provider};
use super::{Failed, LoginFailure, OidcLogin, OidcSettings};
use crate::access::pending::Pending;

/// How far the clocks here and there may be apart.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// Logins that are finished at once.
const AT_ONCE_MAX: usize = 16;
/// Time for what a login needs of the provider.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of a code or state that are looked at.
const PARAMETER_BYTES_MAX: usize = 4 * 1024;
/// Where browsers come back to.
pub(crate) const CALLBACK: &str = "/login/callback";
/// What ID tokens may be signed with: keys that only the provider has, never a secret that both sides know.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

type Client =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// What a browser comes back with.
#[derive(Clone, Default)]
pub(crate) struct Back {
    pub(crate) code: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) error: Option<String>,
}

/// Logs people in elsewhere. Clones share what is known of the provider.
#[derive(Debug, Clone)]
pub(crate) struct Oidc {
    settings: Arc<OidcSettings>,
    provider: Arc<Provider>,
    turns: Arc<Semaphore>,
}

impl Oidc {
    /// Makes one; nothing is asked yet.
    pub(crate) fn new(login: OidcLogin) -> Self {
        Self::patient(login, Patience::default())
    }

    pub(super) fn patient(login: OidcLogin, patience: Patience) -> Self {
        let OidcLogin { settings, outbound } = login;
        let issuer = IssuerUrl::new(settings.issuer_text.clone());
        let issuer = issuer.unwrap_or_else(|_| IssuerUrl::from_url(settings.issuer.clone()));
        let provider = Arc::new(Provider::new(issuer, outbound, patience));
        Self { settings: Arc::new(settings), provider, turns: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }

    /// Returns what the page calls the provider.
    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Returns the claim that names members.
    pub(crate) fn member_claim(&self) -> &str {
        &self.settings.member_claim
    }

    /// Returns the address under which the centre is known, followed by `path`.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.settings.centre)
    }

    /// Returns where the browser that has begun `pending` is sent.
    pub(crate) async fn address(&self, pending: &Pending, language: &str) -> Result<Url, Failed> {
        let metadata = self.in_time(self.provider.metadata()).await?;
        let client = self.client(&metadata)?;
        let (state, nonce) = (CsrfToken::new(pending.state()), Nonce::new(pending.nonce()));
        let verifier = PkceCodeVerifier::new(pending.verifier());
        let asked = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, || state, || nonce)
            .add_scopes(self.settings.scopes.iter().filter(|scope| *scope != "openid").cloned().map(Scope::new))
            .add_ui_locale(LanguageTag::new(language.to_owned()))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        Ok(asked.url().0)
    }

    /// Finds out who has come back.
    pub(crate) async fn finish(
        &self,
        pending: Option<Pending>,
        back: Back,
        now: Timestamp,
    ) -> Result<Recognised, Failed> {
        let pending = pending.ok_or_else(|| LoginFailure::Stale.because("the browser has begun no login"))?;
        if !back.state.as_deref().is_some_and(|state| state.len() <= PARAMETER_BYTES_MAX && pending.is_state(state)) {
            return Err(LoginFailure::Stale.because("the state is not that of the login which the browser has begun"));
        }
        if let Some(error) = &back.error {
            return Err(refused(error));
        }
        let code = back.code.filter(|code| !code.is_empty() && code.len() <= PARAMETER_BYTES_MAX);
        let code = code.ok_or_else(|| LoginFailure::Unreachable.because("the provider sent no code"))?;
        let turn = self.turns.try_acquire();
        let _turn = turn.map_err(|_| LoginFailure::Busy.because(format!("{AT_ONCE_MAX} logins are under way")))?;
        let claims = self.in_time(self.claims(&pending, code, back.issuer.as_deref(), now)).await?;
        Recognised::of(&claims, &self.settings)
    }

    async fn in_time<T>(&self, step: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
        let late = |_| LoginFailure::Unreachable.because(format!("the provider took more than {TIME_MAX:?}"));
        tokio::time::timeout(TIME_MAX, step).await.map_err(late)?
    }

    async fn claims(
        &self,
        pending: &Pending,
        code: String,
        issuer: Option<&str>,
        now: Timestamp,
    ) -> Result<Map<String, Value>, Failed> {
        let metadata = self.provider.metadata().await?;
        let is_named = metadata.additional_metadata().authorization_response_iss_parameter_supported;
        if issuer.is_some_and(|issuer| issuer != metadata.issuer().as_str()) || (is_named && issuer.is_none()) {
            return Err(LoginFailure::Unproven.because("the answer is that of another provider"));
        }
        let token = self.redeem(&metadata, pending, code).await?;
        let nonce = Nonce::new(pending.nonce());
        match self.verify(&metadata, &token, &nonce, now) {
            Err(NotProven::Key) => {
                let newer = self.provider.with_newer_keys(&metadata).await?;
                self.verify(&newer, &token, &nonce, now).map_err(NotProven::failed)
            }
            verified => verified.map_err(NotProven::failed),
        }
    }

    /// Gets the ID token for a code.
    async fn redeem(&self, metadata: &Metadata, pending: &Pending, code: String) -> Result<CoreIdToken, Failed> {
        let client = self.client(metadata)?;
        let verifier = pending.verifier();
        let secrets = [Some(code.as_str()), Some(verifier.as_str()), self.settings.client_secret.as_deref()];
        let secrets: Vec<String> = secrets.into_iter().flatten().map(str::to_owned).collect();
        let request = client.exchange_code(AuthorizationCode::new(code));
        let request = request.map_err(|_| LoginFailure::Unreachable.because("the provider names no token endpoint"))?;
        let answer = request.set_pkce_verifier(PkceCodeVerifier::new(verifier)).request_async(&*self.provider).await;
        let answer: CoreTokenResponse = answer.map_err(|error| not_redeemed(&error, &secrets))?;
        let token = answer.extra_fields().id_token().cloned();
        token.ok_or_else(|| LoginFailure::Unproven.because("the provider sent no ID token"))
    }

    fn verify(
        &self,
        metadata: &Metadata,
        token: &CoreIdToken,
        nonce: &Nonce,
        now: Timestamp,
    ) -> Result<Map<String, Value>, NotProven> {
        let (client, issuer) = (self.settings.client_id.clone(), metadata.issuer().clone());
        // It counts as it was a minute ago, and for what was issued as it will be in a minute.
        let expires = now.checked_sub(LEEWAY).unwrap_or(Timestamp::MIN);
        let issued = now.checked_add(LEEWAY).unwrap_or(Timestamp::MAX).as_second();
        let verifier =
            IdTokenVerifier::new_public_client(ClientId::new(client.clone()), issuer, metadata.jwks().clone())
                .set_allowed_algs(ALGORITHMS)
                .set_time_fn(move || SystemTime::from(expires).into())
                .set_issue_time_verifier_fn(move |at| match at.timestamp() <= issued {
                    true => Ok(()),
                    false => Err("it was issued in the future".to_owned()),
                });
        let claims = token.claims(&verifier, nonce)?;
        if claims.authorized_party().is_some_and(|party| party.as_str() != client) {
            return Err(NotProven::Otherwise("it is for another party (`azp`)".to_owned()));
        }
        let all = all_claims(token).ok_or_else(|| NotProven::Otherwise("it has no claims".to_owned()))?;
        let is_early = all.get("nbf").and_then(Value::as_f64).is_some_and(|begins| begins > issued as f64);
        if is_early { Err(NotProven::Clock("it does not hold yet".to_owned())) } else { Ok(all) }
    }

    fn client(&self, metadata: &Metadata) -> Result<Client, Failed> {
        let settings = &self.settings;
        let secret = settings.client_secret.clone().map(ClientSecret::new);
        let back = RedirectUrl::new(self.at(CALLBACK)).map_err(|error| LoginFailure::Setup.because(error))?;
        let client_id = ClientId::new(settings.client_id.clone());
        let client = CoreClient::from_provider_metadata(metadata.clone(), client_id, secret).set_redirect_uri(back);
        // Basic is what every provider takes that does not say otherwise.
        let is_basic = metadata
            .token_endpoint_auth_methods_supported()
            .is_none_or(|methods| methods.contains(&CoreClientAuthMethod::ClientSecretBasic));
        Ok(client.set_auth_type(if is_basic { AuthType::BasicAuth } else { AuthType::RequestBody }))
    }

    /// Returns where a browser ends its session at the provider, where the provider says so.
    pub(crate) async fn ending(&self) -> Option<Url> {
        let metadata = self.in_time(self.provider.metadata()).await.ok()?;
        let address = metadata.additional_metadata().end_session_endpoint.as_deref()?;
        let mut url = Url::parse(address).ok()?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("post_logout_redirect_uri", &self.at("/"));
        Some(url)
    }
}

/// Why an ID token is not believed.
enum NotProven {
    /// No key of the provider that is known has signed it.
    Key,
    Clock(String),
    Otherwise(String),
}

impl NotProven {
    fn failed(self) -> Failed {
        match self {
            Self::Key => {
                LoginFailure::Unproven.because("the ID token is signed with a key that the provider does not show")
            }
            Self::Clock(why) => LoginFailure::Clock.because(format!("the ID token: {why}")),
            Self::Otherwise(why) => LoginFailure::Unproven.because(format!("the ID token: {why}")),
        }
    }
}

impl From<ClaimsVerificationError> for NotProven {
    fn from(error: ClaimsVerificationError) -> Self {
        match error {
            ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey) => Self::Key,
            ClaimsVerificationError::Expired(why) => Self::Clock(why),
            error => Self::Otherwise(Chain(&error).to_string()),
        }
    }
}

/// Everything that a proven token says.
fn all_claims(token: &CoreIdToken) -> Option<Map<String, Value>> {
    let text = token.to_string();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(text.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// What the provider says instead of a code.
fn refused(error: &str) -> Failed {
    let failure = match error {
        "access_denied" | "login_required" | "interaction_required" | "consent_required" => LoginFailure::Cancelled,
        "server_error" | "temporarily_unavailable" => LoginFailure::Unreachable,
        _ => LoginFailure::Setup,
    };
    failure.because(format!("the provider answered `{error}`"))
}

/// Why there is no ID token for a code. What was sent is not in it, even if the provider repeats it.
fn not_redeemed<R: std::error::Error + 'static, T: ErrorResponse>(
    error: &RequestTokenError<R, T>,
    secrets: &[String],
) -> Failed {
    match error {
        RequestTokenError::ServerResponse(answer) => {
            let said = answer.to_string();
            let failure = match said.split(':').next().unwrap_or_default() {
                "invalid_grant" => LoginFailure::Stale,
                "server_error" | "temporarily_unavailable" => LoginFailure::Unreachable,
                _ => LoginFailure::Setup,
            };
            let said = match secrets.iter().any(|secret| said.contains(secret)) {
                true => said.split(':').next().unwrap_or_default().to_owned(),
                false => said,
            };
            failure.because(format!("the token endpoint answered {said}"))
        }
        RequestTokenError::Request(error) => LoginFailure::Unreachable.because(Chain(error)),
        RequestTokenError::Parse(error, _) => {
            let place = error.path();
            LoginFailure::Unreachable.because(format!("the answer of the token endpoint cannot be read at `{place}`"))
        }
        RequestTokenError::Other(why) => LoginFailure::Unreachable.because(format!("the token endpoint: {why}")),
    }
}
