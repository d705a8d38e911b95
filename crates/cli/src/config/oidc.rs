//! `[server.oidc]`: where people log in besides, and what is made of what is said of them there.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use hambar_connect::SecretRef;
use hambar_server::{Centre, Grant, OidcSettings, Role, Scope};
use serde::Deserialize;
use url::{Host, Url};

/// `[server.oidc]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OidcConfig {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    #[serde(default)]
    pub(crate) client_secret: Option<SecretRef>,
    pub(crate) name: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) member_claim: String,
    pub(crate) groups_claim: String,
    pub(crate) groups: Vec<GroupConfig>,
    pub(crate) unknown_organisation: String,
    pub(crate) unknown_scopes: Vec<String>,
}

/// An entry of `server.oidc.groups`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupConfig {
    pub(crate) group: String,
    pub(crate) organisation: String,
    pub(crate) role: String,
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
}

/// Whether a server writes to its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// It does.
    Written,
    /// It does not.
    OnlyRead,
}

impl OidcConfig {
    /// Returns the settings of logins, without the secret; nothing where nobody logs in so.
    pub(crate) fn settings(&self, centre: &Centre, store: Store) -> Result<Option<OidcSettings>> {
        let issuer_text = self.issuer.trim();
        if issuer_text.is_empty() {
            return Ok(None);
        }
        let issuer = checked_issuer(issuer_text)?;
        if self.client_id.trim().is_empty() {
            bail!("`server.oidc.client_id` is missing: what the provider calls this centre");
        }
        let Some(centre) = &centre.url else {
            bail!("`server.oidc` needs `server.centre.url`, where the provider sends people back to");
        };
        if self.member_claim.trim().is_empty() {
            bail!("`server.oidc.member_claim` is empty: name the claim that names the member, for instance `email`");
        }
        if self.groups.is_empty() != self.groups_claim.trim().is_empty() {
            bail!("`server.oidc.groups_claim` and `server.oidc.groups` belong together: set both or neither");
        }
        let groups: Vec<(String, Grant)> = self.groups.iter().map(GroupConfig::grant).collect::<Result<_>>()?;
        let everybody = match self.unknown_organisation.trim() {
            "" => None,
            name => Some(grant("unknown_scopes", name, Role::Reader, &self.unknown_scopes)?),
        };
        if store == Store::OnlyRead && (everybody.is_some() || !groups.is_empty()) {
            bail!(
                "`server.oidc.groups` and `server.oidc.unknown_organisation` add members to the store, which is only read \
                 with `server.audit = false`"
            );
        }
        let name = match self.name.trim() {
            "" => issuer.host_str().unwrap_or(issuer_text).to_owned(),
            name => name.to_owned(),
        };
        Ok(Some(OidcSettings {
            issuer,
            issuer_text: issuer_text.to_owned(),
            name,
            client_id: self.client_id.trim().to_owned(),
            client_secret: None,
            scopes: self.scopes.clone(),
            member_claim: self.member_claim.trim().to_owned(),
            groups_claim: Some(self.groups_claim.trim().to_owned()).filter(|claim| !claim.is_empty()),
            groups,
            everybody,
            centre: centre.as_str().trim_end_matches('/').to_owned(),
        }))
    }
}

impl GroupConfig {
    fn grant(&self) -> Result<(String, Grant)> {
        let role: Role =
            self.role.parse().map_err(|error: String| anyhow::anyhow!(error)).with_context(self.place())?;
        let everything = ["*".to_owned()];
        let scopes = if self.scopes.is_empty() { &everything[..] } else { &self.scopes };
        let grant = grant("groups", &self.organisation, role, scopes).with_context(self.place())?;
        Ok((self.group.clone(), grant))
    }

    fn place(&self) -> impl FnOnce() -> String + '_ {
        || format!("`server.oidc.groups` says of the group `{}`", self.group)
    }
}

fn grant(setting: &str, organisation: &str, role: Role, scopes: &[String]) -> Result<Grant> {
    let parse = |text: &String| {
        let scope = text.parse::<Scope>().map_err(|error| anyhow::anyhow!(error));
        scope.with_context(|| format!("`server.oidc.{setting}` names the scope `{text}`"))
    };
    let scopes: BTreeSet<Scope> = scopes.iter().map(parse).collect::<Result<_>>()?;
    Ok(Grant { organisation: organisation.trim().to_owned(), role, scopes })
}

/// Secrets go there: only over TLS, or to this machine.
fn checked_issuer(text: &str) -> Result<Url> {
    let wrong = || format!("`server.oidc.issuer` is `{text}`, not an address that starts with `https://`");
    let url = Url::parse(text).with_context(wrong)?;
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
        bail!(wrong());
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        bail!("`server.oidc.issuer` holds more than an address: take away user, password, `?` and `#`");
    }
    Ok(url)
}
