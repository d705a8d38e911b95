//! Compression of bodies, as the client asks for it.

use std::io;

use async_compression::Level;
use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures::TryStreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::Body as _;
use tokio_util::io::{ReaderStream, StreamReader};

use super::format::Format;

/// Bodies below this are not compressed.
const BYTES_MIN: u64 = 256;
/// Bytes that are compressed before others get a turn.
const PIECE_BYTES: usize = 16 * 1024;

/// A way to compress, the better ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

const CODINGS: [(Coding, &str); 3] = [(Coding::Zstd, "zstd"), (Coding::Brotli, "br"), (Coding::Gzip, "gzip")];

/// Compresses what is worth it.
pub(crate) async fn compress(request: Request, next: Next) -> Response {
    let coding = chosen(request.headers());
    let mut response = next.run(request).await;
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    let Some(coding) = coding.filter(|_| is_worthwhile(&response)) else {
        return response;
    };
    let name = CODINGS.iter().find(|(known, _)| *known == coding).map_or("", |(_, name)| name);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    headers.remove(header::CONTENT_LENGTH);
    response.map(|body| {
        let pieces = TryStreamExt::map_err(body.into_data_stream(), io::Error::other);
        let plain = StreamReader::new(pieces);
        match coding {
            Coding::Zstd => packed(ZstdEncoder::with_quality(plain, Level::Fastest)),
            Coding::Brotli => packed(BrotliEncoder::with_quality(plain, Level::Precise(4))),
            Coding::Gzip => packed(GzipEncoder::with_quality(plain, Level::Precise(4))),
        }
    })
}

fn packed(reader: impl tokio::io::AsyncRead + Send + 'static) -> Body {
    Body::from_stream(ReaderStream::with_capacity(reader, PIECE_BYTES))
}

fn is_worthwhile(response: &Response) -> bool {
    // These are compressed inside.
    let packed = [Format::Parquet.media_type(), Format::Xlsx.media_type()];
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    response.status() != StatusCode::NOT_MODIFIED
        && response.body().size_hint().exact().is_none_or(|bytes| bytes >= BYTES_MIN)
        && kind.is_some_and(|kind| !packed.contains(&kind))
        && !response.headers().contains_key(header::CONTENT_ENCODING)
}

/// The best way that the client takes.
fn chosen(headers: &HeaderMap) -> Option<Coding> {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let taken: Vec<String> = values
        .flat_map(|value| value.split(','))
        .filter_map(|part| {
            let mut pieces = part.split(';').map(str::trim);
            let name = pieces.next()?.to_ascii_lowercase();
            let weight = pieces.find_map(|piece| piece.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            (weight > 0.0).then_some(name)
        })
        .collect();
    CODINGS.iter().find(|(_, name)| taken.iter().any(|taken| taken == name)).map(|(coding, _)| *coding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_way_that_is_taken() {
        let choose = |accepted: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, accepted.parse().unwrap());
            chosen(&headers)
        };
        assert_eq!(choose("gzip, deflate, br, zstd"), Some(Coding::Zstd));
        assert_eq!(choose("gzip;q=1.0, br;q=0"), Some(Coding::Gzip));
        assert_eq!(choose("identity"), None);
        assert_eq!(choose("BR"), Some(Coding::Brotli));
    }
}
