//! Who calls: proven from the headers of every call, before anything of it is read. Then what they send is read as a
//! whole, before anything makes room for what it only announces.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::StreamExt;
use hambar_core::{Classified as _, ErrorClass};
use http::HeaderMap;
use tonic::Status;
use tonic::metadata::MetadataValue;

use super::{MESSAGE_BYTES_MAX, status};
use crate::access::{AccessError, Authenticator};
use crate::front::{AskedLimits, FrontError, Protocol, QueryFront};
use crate::rest::auth::{Asker, Door, Peer, Refused, Shown, secret};
use crate::trace;

/// What says who may call.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    pub(super) front: QueryFront,
    pub(super) authenticator: Authenticator,
    pub(super) trusted_proxies: Arc<[IpAddr]>,
}

/// Lets a call in whose caller is proven; its handler finds the [`Asker`] beside it.
pub(super) async fn let_in(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let door = Door {
        front: &gate.front,
        authenticator: &gate.authenticator,
        trusted_proxies: &gate.trusted_proxies,
        protocol: Protocol::Flight,
    };
    let class = |refused: &Refused| match refused {
        Refused::Twice => ErrorClass::Query.name(),
        Refused::Access(error) => error.class().name(),
    };
    let proof = door.prove(request.headers(), request.extensions().get::<Peer>().copied());
    let refused = match trace::authenticate(class, proof).await {
        Ok(asker) => {
            trace::current().proven(&asker.principal);
            request.extensions_mut().insert(asker);
            match arrived(request).await {
                Ok(request) => return next.run(request).await,
                Err(status) => status,
            }
        }
        Err(Refused::Twice) => Status::invalid_argument("there are two `authorization` headers"),
        Err(Refused::Access(error)) => status::of(&FrontError::Access(error)),
    };
    refused.into_http::<Body>()
}

/// Calls that are answered whatever is sent with them, and before it ends.
const UNREAD: [&str; 2] = ["/Handshake", "/DoExchange"];

/// Returns a call once all of it is there: decoding makes room for as much as a message says it has, and whoever says
/// so and sends no more would hold that.
async fn arrived(request: Request) -> Result<Request, Status> {
    let path = request.uri().path();
    if UNREAD.iter().any(|call| path.ends_with(call)) {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let mut pieces = body.into_data_stream();
    // Copies: a piece may be a part of something much larger.
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| Status::cancelled(format!("the call has not arrived: {error}")))?;
        if bytes.len() + piece.len() > MESSAGE_BYTES_MAX {
            let text = format!("the call has more than {MESSAGE_BYTES_MAX} bytes");
            return Err(Status::resource_exhausted(text));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// Returns whoever makes a call.
pub(super) fn asker<T>(request: &tonic::Request<T>) -> Result<Asker, Status> {
    let found = request.extensions().get::<Asker>().cloned();
    found.ok_or_else(|| status::of(&FrontError::Access(AccessError::Needed)))
}

/// What a client is told to send from now on: the token that it has just shown as a password.
pub(super) fn bearer(headers: &HeaderMap) -> Option<MetadataValue<tonic::metadata::Ascii>> {
    let Shown::Secret(token) = secret(headers) else { return None };
    format!("Bearer {token}").parse().ok()
}

/// Rows of the answer at most.
const ROWS: &str = "hambar-rows";
/// Seconds for everything.
const SECONDS: &str = "hambar-seconds";

/// Returns the limits that a client asks for in the headers of a call.
pub(super) fn limits(headers: &HeaderMap) -> Result<AskedLimits, Status> {
    let wrong = |name: &str, what: &str| Err(Status::invalid_argument(format!("header `{name}` is not {what}")));
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
    let mut limits = AskedLimits::default();
    if let Some(rows) = text(ROWS) {
        let Ok(rows) = rows.parse() else { return wrong(ROWS, "a number of rows") };
        limits.result_rows_max = Some(rows);
    }
    if let Some(seconds) = text(SECONDS) {
        let parsed = seconds.parse().ok().and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok());
        let Some(time) = parsed.filter(|time| !time.is_zero()) else { return wrong(SECONDS, "a time in seconds") };
        limits.run_time_max = Some(time);
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;

    #[test]
    fn limits_come_as_headers() {
        let asked = |name: &'static str, value: &str| {
            limits(&HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_str(value).unwrap())]))
        };
        assert_eq!(asked(ROWS, "10").unwrap().result_rows_max, Some(10));
        assert_eq!(asked(SECONDS, "0.5").unwrap().run_time_max, Some(Duration::from_millis(500)));
        assert_eq!(asked("other", "x").unwrap(), AskedLimits::default());
        for (name, value) in [(ROWS, "-1"), (ROWS, "all"), (SECONDS, "0"), (SECONDS, "-1"), (SECONDS, "NaN")] {
            let status = asked(name, value).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{name} {value}");
        }
    }
}
