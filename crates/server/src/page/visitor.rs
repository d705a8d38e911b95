//! Whoever looks at a page: the same people as those who use the interface, with what a page needs to know of them.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Redirect, Response};
use hambar_query::Parameters;
use http::StatusCode;
use http::request::Parts;

use super::error;
use super::looks::{Looks, address};
use crate::access::{Principal, Role, session};
use crate::front::{Ask, AskedLimits, Protocol};
use crate::rest::State;
use crate::rest::auth::identify;

/// Whoever looks at a page, proven.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub(super) looks: Looks,
    pub(super) principal: Arc<Principal>,
    pub(super) address: Option<IpAddr>,
    /// The cookie, where they came by a session.
    pub(super) session: Option<String>,
}

impl FromRequestParts<State> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Response> {
        let looks = Looks::of(parts, state);
        match identify(parts, state).await {
            Ok(known) => Ok(Self { looks, principal: known.principal, address: known.address, session: known.session }),
            Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
                let next = parts.uri.path_and_query().map_or("/", |here| here.as_str());
                Err(Redirect::to(&address("/login", &[("next", next)])).into_response())
            }
            Err(problem) => Err(error::page(&looks, None, &problem)),
        }
    }
}

impl Visitor {
    /// Returns the token that forms carry; empty for people without a session, whose requests prove nothing.
    pub(super) fn form_token(&self) -> String {
        self.session.as_deref().map(session::form_token).unwrap_or_default()
    }

    /// Says whether a form was made for this visitor.
    pub(super) fn is_own_form(&self, token: &str) -> bool {
        self.session.as_deref().is_none_or(|session| session::is_form_token(session, token))
    }

    /// Says whether they look after the centre.
    pub(super) fn is_operator(&self) -> bool {
        self.principal.is_at_least(Role::Operator)
    }

    /// Makes a request of theirs.
    pub(super) fn ask(&self, sql: String, limits: AskedLimits) -> Ask {
        Ask {
            principal: Arc::clone(&self.principal),
            protocol: Protocol::Web,
            address: self.address,
            sql,
            parameters: Parameters::none(),
            limits,
        }
    }
}
