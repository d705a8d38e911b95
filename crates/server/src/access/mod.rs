//! Who asks and what they may see and use: members with tokens, kept in the bucket, and anonymous readers where the
//! configuration lets them in. People who log in elsewhere are members too.

mod attempts;
mod authenticator;
mod members;
pub(crate) mod pending;
mod people;
mod policies;
mod principal;
mod quotas;
pub(crate) mod session;
mod steady;
mod token;

pub use authenticator::{AccessError, Anonymous, Authenticator};
pub use members::{Members, MembersState, NewToken, Organisation, TokenRecord};
pub use people::{Grant, Person};
pub(crate) use people::{is_name, person_name};
pub use policies::{ANONYMOUS, ColumnPolicy, RowPolicy, Whom};
pub use principal::{Principal, Role, Scope};
pub use quotas::{Measure, Quota, Used};
pub use session::SessionKey;
pub(crate) use token::{SCRAM_ITERATIONS, hash as fingerprint, random_id};
pub use token::{ScramVerifier, TokenSecret};
