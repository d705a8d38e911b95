//! The ids of traces and spans, and the W3C headers in which callers name theirs (<https://www.w3.org/TR/trace-context/>).
//! Headers that break a rule count as missing.

use std::fmt;

use http::HeaderMap;
use uuid::Uuid;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
/// Bytes of `traceparent` in the version that is known.
const PARENT_BYTES: usize = 55;
/// Bytes of `tracestate` that are passed on; the standard asks for 512 at least.
const STATE_BYTES_MAX: usize = 512;
/// Entries of `tracestate`.
const STATE_ENTRIES_MAX: usize = 32;
/// The bits of an id that decide whether a trace is sampled.
const CHANCE_BITS: u64 = (1 << 56) - 1;

/// The id of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TraceId([u8; 16]);

/// The id of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SpanId([u8; 8]);

impl TraceId {
    pub(super) fn random() -> Self {
        // Of random bits, six of which are fixed: it is never zero.
        Self(Uuid::new_v4().into_bytes())
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// A number between 0 and 1, the same for everybody who looks at this trace.
    pub(super) fn chance(self) -> f64 {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        (u64::from_be_bytes([a, b, c, d, e, f, g, h]) & CHANCE_BITS) as f64 / (CHANCE_BITS + 1) as f64
    }
}

impl SpanId {
    pub(super) fn random() -> Self {
        let [.., a, b, c, d, e, f, g, h] = Uuid::new_v4().into_bytes();
        Self([a, b, c, d, e, f, g, h])
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// The span of whoever calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) is_sampled: bool,
    pub(super) state: String,
}

impl Remote {
    /// Reads the headers of a request.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut sent = headers.get_all(PARENT).iter();
        let parent = sent.next()?.to_str().ok()?;
        if sent.next().is_some() {
            return None;
        }
        let (trace, span, is_sampled) = parent_of(parent.trim())?;
        Some(Self { trace, span, is_sampled, state: state_of(headers).unwrap_or_default() })
    }
}

fn parent_of(text: &str) -> Option<(TraceId, SpanId, bool)> {
    let (known, rest) = text.split_at_checked(PARENT_BYTES)?;
    let mut parts = known.split('-');
    let version = bytes_of::<1>(parts.next()?)?;
    let trace = bytes_of::<16>(parts.next()?)?;
    let span = bytes_of::<8>(parts.next()?)?;
    let [flags] = bytes_of::<1>(parts.next()?)?;
    let is_known_form = match version {
        [0xff] => false,
        [0] => rest.is_empty(),
        // Later versions may add to the end.
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    let is_right = is_known_form && parts.next().is_none() && trace != [0; 16] && span != [0; 8];
    is_right.then_some((TraceId(trace), SpanId(span), flags & 1 == 1))
}

/// Reads lower-case hexadecimal digits.
fn bytes_of<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    let is_lower = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    if text.len() != 2 * LENGTH || !text.as_bytes().iter().all(is_lower) {
        return None;
    }
    let mut bytes = [0; LENGTH];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn state_of(headers: &HeaderMap) -> Option<String> {
    let values: Option<Vec<&str>> = headers.get_all(STATE).iter().map(|value| value.to_str().ok()).collect();
    let text = values?.join(",");
    let entries: Vec<&str> = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
    if text.len() > STATE_BYTES_MAX || entries.len() > STATE_ENTRIES_MAX || !entries.iter().all(|entry| is_entry(entry))
    {
        return None;
    }
    Some(entries.join(","))
}

fn is_entry(entry: &str) -> bool {
    let is_of_key = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@')
    };
    let Some((key, value)) = entry.split_once('=') else { return false };
    let is_key = !key.is_empty() && key.len() <= 256 && key.bytes().all(is_of_key);
    is_key && value.len() <= 256 && value.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn read(parents: &[&str], states: &[&str]) -> Option<Remote> {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(PARENT, http::HeaderValue::from_bytes(parent.as_bytes()).unwrap());
        }
        for state in states {
            headers.append(STATE, state.parse().unwrap());
        }
        Remote::of(&headers)
    }

    #[test]
    fn a_caller_names_its_span() {
        let read = read(&[&format!("00-{TRACE}-{SPAN}-01")], &["a=1, b@c=x y", "", "d=2"]).unwrap();
        assert_eq!((read.trace.to_string(), read.span.to_string()), (TRACE.to_owned(), SPAN.to_owned()));
        assert_eq!((read.is_sampled, read.state.as_str()), (true, "a=1,b@c=x y,d=2"));
    }

    #[test]
    fn flags_and_versions_of_the_future_are_understood_as_far_as_they_are_known() {
        for (tail, is_sampled) in [("-00", false), ("-02", false), ("-03", true), ("-ff", true)] {
            assert_eq!(read(&[&format!("00-{TRACE}-{SPAN}{tail}")], &[]).unwrap().is_sampled, is_sampled, "{tail}");
        }
        for tail in ["-01", "-01-more", "-01-"] {
            assert!(read(&[&format!("cc-{TRACE}-{SPAN}{tail}")], &[]).unwrap().is_sampled, "{tail}");
        }
    }

    #[test]
    fn what_breaks_a_rule_counts_as_missing() {
        let right = format!("00-{TRACE}-{SPAN}-01");
        for wrong in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01x"),
            format!("cc-{TRACE}-{SPAN}-01more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0x-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-{}-01", "g".repeat(16)),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{SPAN}-{TRACE}-01"),
            "ж".repeat(28),
            right.repeat(2_000),
        ] {
            assert_eq!(read(&[&wrong], &[]), None, "{wrong}");
        }
        assert_eq!(read(&[&right, &right], &[]), None);
        assert_eq!(read(&[], &["a=1"]), None);
    }

    #[test]
    fn a_state_that_breaks_a_rule_is_left_out_and_the_parent_stays() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let many: String = (0..33).map(|number| format!("k{number}=1,")).collect();
        for wrong in ["a", "A=1", "=1", "a=1=2", many.as_str(), &format!("a={}", "x".repeat(600))] {
            assert_eq!(read(&[&parent], &[wrong]).unwrap().state, "", "{wrong}");
        }
    }

    #[test]
    fn ids_are_random_and_chances_spread() {
        let ids: Vec<TraceId> = (0..1_000).map(|_| TraceId::random()).collect();
        let below = ids.iter().filter(|id| id.chance() < 0.5).count();
        assert!((400..600).contains(&below), "{below}");
        assert!(ids.iter().all(|id| (0.0..1.0).contains(&id.chance())));
        assert_ne!(SpanId::random(), SpanId::random());
    }
}
