//! Forms that browsers send: names and values, within the limits of every body.

use axum::body::{Body, Bytes};
use http::{HeaderMap, header};

use crate::rest::problem::Problem;

/// Bytes of a form: a statement is at most 64 KiB, and each of its bytes may take three.
const FORM_BYTES_MAX: usize = 256 * 1024;

/// The fields of a form.
#[derive(Debug, Clone)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads the form of a request.
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
            let status = http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Problem::refused(status, "a form comes as `application/x-www-form-urlencoded`"));
        }
        let limit = || {
            let said = format!("the form did not arrive, or has more than {FORM_BYTES_MAX} bytes");
            Problem::refused(http::StatusCode::PAYLOAD_TOO_LARGE, said)
        };
        let bytes = axum::body::to_bytes(body, FORM_BYTES_MAX).await.map_err(|_| limit())?;
        Ok(Self::of(&bytes))
    }

    /// Reads the form of a body that is there already.
    pub(super) fn of(body: &Bytes) -> Self {
        Self(url::form_urlencoded::parse(body).into_owned().collect())
    }

    /// Returns the value of a field.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}
