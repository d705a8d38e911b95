//! What stands around the pages of citations and catalogues: no script, nothing from elsewhere.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use maud::{DOCTYPE, Markup, html};

/// Returns a page. `head` is what stands in its head besides the title.
pub(crate) fn page(title: &str, head: &Markup, content: &Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Hambar" }
                link rel="stylesheet" href="/docs/style.css";
                (head)
            }
            body {
                header { p { a href="/" { "Hambar" } } }
                main { (content) }
            }
        }
    };
    let mut response = markup.into_string().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}
