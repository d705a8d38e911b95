//! Tickets: what a client gets for a question and shows for the rows. They hold everything that is needed to answer,
//! signed with a key that only this process has, so that nothing in them was changed or made up. They are no right of
//! their own: whoever shows one is proven anew, and must be whoever it was made for.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hambar_query::Parameters;
use ring::error::Unspecified;
use ring::hmac;
use ring::rand::SystemRandom;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;
use tonic::Status;
use uuid::Uuid;

/// How long a ticket may be shown.
const TICKET_TIME_MAX: Duration = Duration::from_secs(10 * 60);
/// Bytes of the signature, which comes first.
const TAG_BYTES: usize = 32;

/// What a ticket stands for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Wanted {
    /// The rows of a statement.
    Rows {
        /// The statement.
        sql: String,
        /// The values of its parameters.
        parameters: Parameters,
    },
    /// Something about the server or its tables, as the command that asks for it.
    Metadata(Packed),
}

/// Bytes, in a text as base64.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Packed(pub(super) Vec<u8>);

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A ticket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ticket {
    /// Names it, so that its query can be cancelled.
    #[serde(with = "as_text")]
    pub(super) id: Uuid,
    /// Whom it was made for.
    pub(super) member: String,
    /// When it ends, in seconds since the key was made: no clock that is set can bring it back.
    ends_at: u64,
    /// What it stands for.
    pub(super) wanted: Wanted,
}

/// An id as everybody writes it.
mod as_text {
    use super::{Deserialize, Deserializer, Serializer, Uuid};

    pub(super) fn serialize<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Makes tickets, and knows its own again.
#[derive(Debug)]
pub(super) struct Tickets {
    key: hmac::Key,
    since: Instant,
}

impl Tickets {
    /// Makes a key.
    pub(super) fn new() -> Result<Self, Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self { key, since: Instant::now() })
    }

    /// Returns a ticket for `member`.
    pub(super) fn sell(&self, member: String, wanted: Wanted, now: Instant) -> Result<Vec<u8>, Status> {
        let ends_at = (self.age(now) + TICKET_TIME_MAX).as_secs();
        let ticket = Ticket { id: Uuid::new_v4(), member, ends_at, wanted };
        let content = serde_json::to_vec(&ticket)
            .map_err(|error| Status::invalid_argument(format!("the values of the parameters: {error}")))?;
        let mut bytes = hmac::sign(&self.key, &content).as_ref().to_vec();
        bytes.extend_from_slice(&content);
        Ok(bytes)
    }

    /// Returns what is in a ticket that `member` shows. Whatever is wrong with it, the answer is the same.
    pub(super) fn take(&self, bytes: &[u8], member: &str, now: Instant) -> Result<Ticket, Status> {
        let wrong = || {
            Status::permission_denied(
                "the ticket is not valid: tickets are for whoever asked, for ten minutes and for the server that gave \
                 them\nhint: ask the question again",
            )
        };
        let (tag, content) = bytes.split_at_checked(TAG_BYTES).ok_or_else(wrong)?;
        hmac::verify(&self.key, content, tag).map_err(|_| wrong())?;
        let ticket: Ticket = serde_json::from_slice(content).map_err(|_| wrong())?;
        let is_over = self.age(now).as_secs() > ticket.ends_at;
        if is_over || ticket.member != member { Err(wrong()) } else { Ok(ticket) }
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn only_what_was_sold_to_a_member_is_taken_from_him() {
        let tickets = Tickets::new().unwrap();
        let parameters = Parameters::new(vec![Arc::new(Int64Array::from(vec![7]))]).unwrap();
        let wanted = Wanted::Rows { sql: "SELECT $1 /* ж */".to_owned(), parameters };
        let now = Instant::now();
        let sold = tickets.sell("ana".to_owned(), wanted.clone(), now).unwrap();
        assert_eq!(tickets.take(&sold, "ana", now).unwrap().wanted, wanted);
        let refusal = tickets.take(b"", "ana", now).unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::PermissionDenied);
        let refused_at = |bytes: &[u8], member: &str, now: Instant| {
            let error = tickets.take(bytes, member, now).unwrap_err();
            assert_eq!((error.code(), error.message()), (refusal.code(), refusal.message()));
        };
        let refused = |bytes: &[u8], member: &str| refused_at(bytes, member, now);
        refused(&sold, "boris");
        refused(&sold[..sold.len() - 1], "ana");
        for place in 0..sold.len() {
            let mut altered = sold.clone();
            altered[place] ^= 1;
            refused(&altered, "ana");
        }
        let other = Tickets::new().unwrap().sell("ana".to_owned(), wanted, now).unwrap();
        refused(&other, "ana");
        tickets.take(&sold, "ana", now + TICKET_TIME_MAX).unwrap();
        refused_at(&sold, "ana", now + TICKET_TIME_MAX + Duration::from_secs(2));
    }
}
