//! How a connection begins: TLS where there is any, names and settings, and the proof of a token. Until that is given,
//! sixteen kibibytes and some seconds are all that a stranger gets.

use std::net::IpAddr;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::POSTGRES_ALPN;
use super::message::{Message, understand};
use super::refusal::{Fault, Refusal};
use super::scram::{Exchange, MECHANISM};
use super::serve::Shared;
use super::wire::{Fields, Socket, Wire, WireError, malformed, packet, put, put_text};
use crate::access::{AccessError, Principal};
use crate::front::Protocol;
use crate::net::Stalling;

/// The first packets that are no start.
const CANCEL: i32 = 80_877_102;
const TLS: i32 = 80_877_103;
const GSS: i32 = 80_877_104;
/// The version of the protocol.
const VERSION: i32 = 3;
/// The first byte of TLS.
const TLS_RECORD: u8 = 0x16;
/// Packets before a start: one wish for TLS and one for GSS.
const WISHES_MAX: usize = 2;
/// The user of whoever has no token.
const ANONYMOUS: &str = "anonymous";

/// How a connection begins.
pub(super) enum First {
    /// Somebody wants to ask.
    Start(Box<Start>),
    /// Somebody wants to stop what another connection asks.
    Cancel { process: i32, secret: i32 },
    /// Nothing comes of it.
    Nothing,
}

/// Somebody who wants to ask.
pub(super) struct Start {
    pub(super) wire: Wire,
    pub(super) user: String,
    /// Settings by name, as sent.
    pub(super) settings: Vec<(String, String)>,
}

/// How long a client may take for everything that it sends before it is known. What the server does meanwhile, such as
/// reading who there is, is not on the client's account: a busy machine sends nobody away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    limit: Duration,
    until: Instant,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, until: Instant::now() + limit }
    }

    /// Waits for something of the client's.
    pub(super) async fn over<T>(self, awaited: impl Future<Output = T>) -> Result<T, WireError> {
        let awaited = tokio::time::timeout_at(self.until, awaited).await;
        awaited.map_err(|_| WireError::Time { what: "the start of a session", limit: self.limit })
    }
}

/// Reads the first packets of a connection.
pub(super) async fn first(shared: &Shared, stream: TcpStream) -> Result<First, WireError> {
    let mut byte = [0];
    let is_tls_at_once = shared.tls.is_some() && stream.peek(&mut byte).await? > 0 && byte == [TLS_RECORD];
    let mut socket: Socket = Box::new(Stalling::new(stream, shared.settings.write_time_max));
    let mut is_open = shared.tls.is_some();
    if is_tls_at_once {
        socket = secured(shared, socket, true).await?;
        is_open = false;
    }
    for _ in 0..=WISHES_MAX {
        let mut fields = packet(&mut socket).await?;
        match fields.number()? {
            TLS => match shared.tls {
                Some(_) if is_open => {
                    socket.write_all(b"S").await?;
                    socket.flush().await?;
                    // What was sent in the clear after the wish is part of no message: TLS starts with its own bytes.
                    socket = secured(shared, socket, false).await?;
                    is_open = false;
                }
                _ => socket.write_all(b"N").await?,
            },
            GSS => socket.write_all(b"N").await?,
            // Clients before version 17 send this without TLS. It names two secrets and asks for nothing.
            CANCEL => {
                let cancel = First::Cancel { process: fields.number()?, secret: fields.number()? };
                fields.end()?;
                return Ok(cancel);
            }
            version => return start(socket, version, fields, is_open).await,
        }
    }
    Err(malformed("it begins with too many wishes"))
}

async fn secured(shared: &Shared, socket: Socket, is_at_once: bool) -> Result<Socket, WireError> {
    let Some(acceptor) = &shared.tls else { return Ok(socket) };
    let stream = acceptor.accept(socket).await?;
    if is_at_once && stream.get_ref().1.alpn_protocol() != Some(POSTGRES_ALPN) {
        return Err(malformed("TLS without the protocol's name"));
    }
    Ok(Box::new(stream))
}

async fn start(socket: Socket, version: i32, mut fields: Fields, is_open: bool) -> Result<First, WireError> {
    let mut wire = Wire::new(socket);
    if version >> 16 != VERSION {
        let refusal = Refusal::new("0A000", format!("version {}.{} of the protocol", version >> 16, version & 0xffff));
        return nothing(wire, &refusal.hint("this server speaks version 3.0")).await;
    }
    if is_open {
        let refusal = Refusal::new("28000", "this server is asked over TLS only");
        return nothing(wire, &refusal.hint("connect with `sslmode=verify-full`, or `require`")).await;
    }
    let (mut settings, mut unknown) = (Vec::new(), Vec::new());
    loop {
        let name = fields.text()?;
        if name.is_empty() {
            break;
        }
        let value = fields.text()?;
        if name.starts_with("_pq_.") {
            unknown.push(name);
        } else {
            settings.push((name, value));
        }
    }
    fields.end()?;
    if version & 0xffff != 0 || !unknown.is_empty() {
        wire.put(b'v', |out| {
            out.put_i32(VERSION << 16);
            out.put_u32(u32::try_from(unknown.len()).unwrap_or(u32::MAX));
            unknown.iter().for_each(|name| put_text(out, name));
        });
    }
    let user = settings.iter().find(|(name, _)| name == "user").map(|(_, user)| user.clone());
    let Some(user) = user.filter(|user| !user.is_empty()) else {
        let refusal = Refusal::new("28000", "the user is missing");
        return nothing(wire, &refusal.hint("it is `organisation/name`, or the id of a token")).await;
    };
    Ok(First::Start(Box::new(Start { wire, user, settings })))
}

async fn nothing(mut wire: Wire, refusal: &Refusal) -> Result<First, WireError> {
    wire.refuse(&refusal.clone().fatal());
    wire.close().await?;
    Ok(First::Nothing)
}

/// Finds out who it is. Every proof that fails is the same failure.
pub(super) async fn prove(
    shared: &Shared,
    start: &mut Start,
    address: IpAddr,
    patience: Patience,
) -> Result<Principal, Fault> {
    let authenticator = &shared.authenticator;
    if start.user == ANONYMOUS {
        let principal = authenticator.anonymous(Some(address)).await;
        return principal.map_err(|error| Refusal::of_access(error).fatal().into());
    }
    let record = match authenticator.record(&start.user, Some(address)).await {
        Ok(record) => Some(record),
        Err(AccessError::Token) => None,
        Err(error) => return Err(Refusal::of_access(error).fatal().into()),
    };
    let wire = &mut start.wire;
    wire.put(b'R', |out| {
        out.put_i32(10);
        put_text(out, MECHANISM);
        out.put_u8(0);
    });
    wire.send().await?;
    let first = patience.over(proof(wire)).await??;
    let Some(exchange) =
        initial(first).and_then(|first| Exchange::begin(&start.user, record, &shared.disguise, &first))
    else {
        return Err(refused(shared, address).into());
    };
    wire.put(b'R', |out| {
        out.put_i32(11);
        out.put_slice(exchange.challenge.as_bytes());
    });
    wire.send().await?;
    let last = patience.over(proof(wire)).await??;
    let Some((record, signature)) = exchange.finish(&last.rest()) else {
        return Err(refused(shared, address).into());
    };
    wire.put(b'R', |out| {
        out.put_i32(12);
        out.put_slice(signature.as_bytes());
    });
    let principal = match authenticator.proven(&record).await {
        Ok(principal) => principal,
        Err(error) => return Err(Refusal::of_access(error).fatal().into()),
    };
    // It may have been revoked while it was proven.
    match authenticator.is_current(&principal).await {
        Ok(true) => Ok(principal),
        Ok(false) => Err(refused(shared, address).into()),
        Err(error) => Err(Refusal::of_access(error).fatal().into()),
    }
}

async fn proof(wire: &mut Wire) -> Result<Fields, Fault> {
    let frame = wire.frame().await?;
    if frame.kind != b'p' {
        return Err(Refusal::protocol("a proof was expected").fatal().into());
    }
    match understand(frame)? {
        Message::Proof(bytes) => Ok(Fields::from(bytes)),
        _ => Err(Refusal::protocol("a proof was expected").fatal().into()),
    }
}

/// The client's first message, where it chose the mechanism that is offered.
fn initial(mut fields: Fields) -> Option<bytes::Bytes> {
    let mechanism = fields.text().ok()?;
    let first = fields.value().ok()??;
    fields.end().ok()?;
    (mechanism == MECHANISM).then_some(first)
}

fn refused(shared: &Shared, address: IpAddr) -> Refusal {
    let error = shared.authenticator.refused(Some(address));
    shared.front.login_refused(Protocol::Postgres, Some(address), &error);
    let refusal = Refusal::new("28P01", "the token is not valid");
    refusal.hint("the user is `organisation/name` or a token's id, and the password is the token").fatal()
}

/// What a client hears whose connection is one too many.
pub(super) fn too_many() -> BytesMut {
    let mut out = BytesMut::new();
    put(&mut out, b'E', |out| {
        for (kind, text) in
            [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', "53300"), (b'M', "there are too many connections already")]
        {
            out.put_u8(kind);
            put_text(out, text);
        }
        out.put_u8(0);
    });
    out
}
