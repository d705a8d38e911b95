//! Why somebody was not logged in: what they are told, and what is only written down.

use std::fmt::Display;

use hambar_core::ErrorClass;

/// Characters of a cause that are written down.
const WHY_CHARACTERS_MAX: usize = 300;

/// What went wrong with a login elsewhere, as whoever tried it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginFailure {
    /// The provider does not answer, or not as it should.
    Unreachable,
    /// Too many log in at this moment.
    Busy,
    /// The provider does not know this centre, or the settings lead nowhere.
    Setup,
    /// Somebody said no at the provider.
    Cancelled,
    /// It was begun by another browser, or too long ago, or it is over already.
    Stale,
    /// The clocks here and there differ.
    Clock,
    /// What the provider said is not proven.
    Unproven,
    /// The provider does not say who they are in the way that is agreed.
    Claim,
    /// The provider does not vouch for their mail address.
    Unverified,
    /// They are no member.
    Unknown,
}

impl LoginFailure {
    /// Returns its name in logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Busy => "busy",
            Self::Setup => "setup",
            Self::Cancelled => "cancelled",
            Self::Stale => "stale",
            Self::Clock => "clock",
            Self::Unproven => "unproven",
            Self::Claim => "claim",
            Self::Unverified => "unverified",
            Self::Unknown => "unknown",
        }
    }

    /// Returns its class.
    pub(crate) fn class(self) -> ErrorClass {
        match self {
            Self::Unreachable | Self::Clock => ErrorClass::Transient,
            Self::Busy => ErrorClass::Quota,
            Self::Setup => ErrorClass::Config,
            Self::Cancelled | Self::Stale | Self::Unproven | Self::Claim | Self::Unverified | Self::Unknown => {
                ErrorClass::Denied
            }
        }
    }

    /// With its cause, for the log.
    pub(crate) fn because(self, why: impl Display) -> Failed {
        let why = why.to_string().chars().take(WHY_CHARACTERS_MAX).collect::<String>();
        Failed { failure: self, why: why.escape_debug().to_string(), who: None }
    }
}

/// A login that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    /// What whoever tried it is told.
    pub(crate) failure: LoginFailure,
    /// The cause, for the log; no secret is in it.
    pub(crate) why: String,
    /// Whom the provider named, where that is proven.
    pub(crate) who: Option<String>,
}
