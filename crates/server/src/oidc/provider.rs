//! What is known of the provider: its addresses and keys. They are asked for when somebody wants to log in, and kept for a
//! while; a provider that is down is not asked again by everybody who waits.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{self, BoxFuture};
use hambar_core::Chain;
use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
    CoreJsonWebKeySet, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode,
    CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{AdditionalProviderMetadata, AsyncHttpClient, IssuerUrl, ProviderMetadata};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Failed, LoginFailure, Outbound, OutboundAnswer, OutboundError, OutboundLimits, OutboundRequest};

/// Bytes of an answer of the provider.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// For how long what is known of a provider counts, and how long it may take to tell more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// Time for one exchange.
    pub(super) exchange: Duration,
    /// What is known is asked for again after so long.
    pub(super) known: Duration,
    /// What was known is used for so long where the provider does not tell it again.
    pub(super) known_max: Duration,
    /// A provider that failed is asked again after so long.
    pub(super) failed: Duration,
    /// Keys that are not known are looked for again after so long.
    pub(super) keys: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let hour = Duration::from_secs(60 * 60);
        Self {
            exchange: Duration::from_secs(10),
            known: hour,
            known_max: 24 * hour,
            failed: Duration::from_secs(5),
            keys: Duration::from_secs(30),
        }
    }
}

/// What else providers say of themselves.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct More {
    /// Where a browser ends its session there.
    pub(super) end_session_endpoint: Option<String>,
    /// Whether it says in each answer who it is (RFC 9207).
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for More {}

/// What a provider says of itself, with its keys.
pub(super) type Metadata = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// The provider, as far as it is known.
#[derive(Debug)]
pub(super) struct Provider {
    issuer: IssuerUrl,
    outbound: Arc<dyn Outbound>,
    patience: Patience,
    /// Held while it is asked, so that it is asked once.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    metadata: Option<Arc<Metadata>>,
    read_at: Option<Instant>,
    failed_at: Option<Instant>,
    keys_read_at: Option<Instant>,
}

/// Sends requests to the provider. What may be read on the way is sent only where the provider's own address is such a one.
impl<'c> AsyncHttpClient<'c> for Provider {
    type Error = OutboundError;
    type Future = BoxFuture<'c, Result<OutboundAnswer, OutboundError>>;

    fn call(&'c self, request: OutboundRequest) -> Self::Future {
        if let Err(why) = self.check(&request.uri().to_string()) {
            return future::ready(Err(OutboundError(why))).boxed();
        }
        let limits = OutboundLimits { body_bytes_max: BODY_BYTES_MAX, time_max: self.patience.exchange };
        self.outbound.send(request, limits)
    }
}

fn is_within(since: Option<Instant>, limit: Duration) -> bool {
    since.is_some_and(|since| since.elapsed() < limit)
}

impl Provider {
    pub(super) fn new(issuer: IssuerUrl, outbound: Arc<dyn Outbound>, patience: Patience) -> Self {
        Self { issuer, outbound, patience, known: Mutex::default() }
    }

    fn check(&self, address: &str) -> Result<(), String> {
        let is_safe = address.starts_with("https://");
        if is_safe || (self.issuer.url().scheme() == "http" && address.starts_with("http://")) {
            return Ok(());
        }
        let shown = address.split('?').next().unwrap_or_default();
        Err(format!("the provider names the address `{shown}`, which does not begin with `https://`"))
    }

    /// Returns what the provider says of itself.
    pub(super) async fn metadata(&self) -> Result<Arc<Metadata>, Failed> {
        let mut known = self.known.lock().await;
        if let Some(metadata) = &known.metadata
            && (is_within(known.read_at, self.patience.known) || is_within(known.failed_at, self.patience.failed))
        {
            return Ok(Arc::clone(metadata));
        }
        if is_within(known.failed_at, self.patience.failed) {
            return Err(
                LoginFailure::Unreachable.because("the provider failed a moment ago and is not asked again yet")
            );
        }
        match self.discovered().await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                let (metadata, read_at) = (Some(Arc::clone(&metadata)), Some(Instant::now()));
                *known = Known { metadata, read_at, failed_at: None, keys_read_at: None };
            }
            Err(failed) => {
                known.failed_at = Some(Instant::now());
                if !is_within(known.read_at, self.patience.known_max) {
                    known.metadata = None;
                    return Err(failed);
                }
                tracing::warn!(why = %failed.why, "the provider of logins is not what it was; what was known is used");
            }
        }
        known.metadata.clone().ok_or_else(|| LoginFailure::Unreachable.because("nothing is known of the provider"))
    }

    async fn discovered(&self) -> Result<Metadata, Failed> {
        let metadata = Metadata::discover_async(self.issuer.clone(), self).await;
        let metadata = metadata.map_err(|error| {
            let why = format!("what the provider says of itself cannot be used: {}", Chain(&error));
            LoginFailure::Unreachable.because(why)
        })?;
        let token = metadata.token_endpoint().map(|address| address.as_str());
        let end = metadata.additional_metadata().end_session_endpoint.as_deref();
        for address in [Some(metadata.authorization_endpoint().as_str()), token, end].into_iter().flatten() {
            self.check(address).map_err(|why| LoginFailure::Unreachable.because(why))?;
        }
        Ok(metadata)
    }

    /// Returns what is known with newer keys than `old` has, where the provider has some. They are not asked for
    /// all the time, whoever shows tokens that nobody has signed.
    pub(super) async fn with_newer_keys(&self, old: &Arc<Metadata>) -> Result<Arc<Metadata>, Failed> {
        let mut known = self.known.lock().await;
        if let Some(metadata) = known.metadata.as_ref().filter(|metadata| !Arc::ptr_eq(metadata, old)) {
            return Ok(Arc::clone(metadata));
        }
        if is_within(known.keys_read_at, self.patience.keys) {
            return Ok(Arc::clone(old));
        }
        known.keys_read_at = Some(Instant::now());
        let keys = CoreJsonWebKeySet::fetch_async(old.jwks_uri(), self).await;
        let keys = keys.map_err(|error| {
            LoginFailure::Unreachable.because(format!("the provider's keys cannot be read: {}", Chain(&error)))
        })?;
        let newer = Arc::new(Metadata::clone(old).set_jwks(keys));
        known.metadata = Some(Arc::clone(&newer));
        Ok(newer)
    }
}
