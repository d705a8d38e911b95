//! Who asks and what they may see and use: members with tokens, kept in the bucket, and anonymous readers where the
//! configuration lets them in.

mod attempts;
mod authenticator;
mod members;
mod policies;
mod principal;
mod quotas;
pub(crate) mod session;
mod steady;
mod token;

pub use authenticator::{AccessError, Anonymous, Authenticator};
pub use members::{Members, MembersState, NewToken, Organisation, TokenRecord};
pub use policies::{ANONYMOUS, ColumnPolicy, RowPolicy, Whom};
pub use principal::{Principal, Role, Scope};
pub use quotas::{Measure, Quota, Used};
pub use session::SessionKey;
pub(crate) use token::{SCRAM_ITERATIONS, hash as fingerprint, random_id};
pub use token::{ScramVerifier, TokenSecret};
