//! Logging in elsewhere, for `hambar serve`: the settings with their secret, and the way to the provider under the rules of
//! all requests outward.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use hambar_core::Chain;
use hambar_fetch::{Small, SmallLimits};
use hambar_server::{OidcLogin, Outbound, OutboundAnswer, OutboundError, OutboundLimits, OutboundRequest};

use crate::config::{ServerConfig, Store};
use crate::context::Context;

/// Sends what the server sends outward.
#[derive(Debug)]
struct Outward(Small);

impl Outbound for Outward {
    fn send(
        &self,
        request: OutboundRequest,
        limits: OutboundLimits,
    ) -> BoxFuture<'_, Result<OutboundAnswer, OutboundError>> {
        let limits = SmallLimits { body_bytes_max: limits.body_bytes_max, total: limits.time_max };
        let sent = self.0.send(request, limits);
        async move { sent.await.map_err(|error| OutboundError(Chain(&error).to_string())) }.boxed()
    }
}

/// Returns how people log in elsewhere, if they do.
pub(super) fn login(context: &Context, server: &ServerConfig) -> Result<Option<OidcLogin>> {
    let store = if server.audit { Store::Written } else { Store::OnlyRead };
    let Some(mut settings) = server.oidc.settings(&server.centre.centre()?, store)? else { return Ok(None) };
    let secret = server.oidc.client_secret.as_ref().map(|reference| context.secrets.read(reference));
    settings.client_secret = secret.transpose().context("read `server.oidc.client_secret`")?;
    let outbound = Arc::new(Outward(Small::new(&context.config.fetch)?));
    Ok(Some(OidcLogin { settings, outbound }))
}
