//! Logging in elsewhere: the authorisation code flow of OpenID Connect, with PKCE. The page begins it and takes the browser
//! back (`page/oidc.rs`); what is between two requests is in the browser's cookie (`access/pending.rs`), so that any server
//! of a store may answer the second. Nothing here listens, and requests outward go through [`Outbound`].

mod claims;
mod exchange;
mod failure;
#[cfg(test)]
mod hostile;
mod outbound;
mod provider;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use url::Url;

pub(crate) use claims::Recognised;
pub(crate) use exchange::{Back, CALLBACK, Oidc};
pub(crate) use failure::{Failed, LoginFailure};
pub use outbound::{Outbound, OutboundAnswer, OutboundError, OutboundLimits, OutboundRequest};

use crate::access::Grant;

/// Where people log in, and what is made of what is said of them there.
#[derive(Clone)]
pub struct OidcSettings {
    /// The provider of logins, as it calls itself.
    pub issuer: Url,
    /// The same, to the letter.
    pub issuer_text: String,
    /// What the page calls it.
    pub name: String,
    /// What it calls this centre.
    pub client_id: String,
    /// What this centre proves itself with there; nothing where it is a public client.
    pub client_secret: Option<String>,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// The claim that names the member.
    pub member_claim: String,
    /// The claim with a person's groups, where they mean something here.
    pub groups_claim: Option<String>,
    /// What members of a group get, the first of theirs.
    pub groups: Vec<(String, Grant)>,
    /// What everybody else gets; nothing is a refusal.
    pub everybody: Option<Grant>,
    /// The address under which the centre is known, without a slash at its end.
    pub centre: String,
}

impl fmt::Debug for OidcSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OidcSettings").field("issuer", &self.issuer_text).finish_non_exhaustive()
    }
}

/// The way from the settings to the routes.
#[derive(Debug, Clone)]
pub struct OidcLogin {
    /// Where and what.
    pub settings: OidcSettings,
    /// How the provider is reached.
    pub outbound: Arc<dyn Outbound>,
}
