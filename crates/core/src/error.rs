//! Error classes: the one place that decides what is retried, which exit code ends a command, and later which
//! status a protocol answers with.

use std::fmt;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorClass {
    /// The command line, a pipeline file or the configuration is wrong: mend it and repeat.
    Config,
    /// The provider or the network failed for now: the same run may succeed later.
    Transient,
    /// A quota of the provider or of ours is used up: later.
    Quota,
    /// The provider refused us for good (401, 403, 404, 410).
    Refused,
    /// What arrived is not proven complete; nothing was published.
    Incomplete,
    /// The source's columns are not the declared ones.
    Drift,
    /// Bytes could not be decoded, or too many rows broke the contract.
    Data,
    /// A named limit was reached (bytes, rows, time, memory).
    Limit,
    /// Another run or writer got there first.
    Conflict,
    /// The store failed or is damaged.
    Store,
    /// The statement is not SQL that can be planned (syntax, unknown table or column, types).
    Query,
    /// The statement or address is not allowed.
    Denied,
    /// The user or the system stopped it.
    Cancelled,
    /// A defect of Hambar.
    Internal,
}

impl ErrorClass {
    /// All classes, in the order of their exit codes.
    pub const ALL: [Self; 14] = [
        Self::Config,
        Self::Transient,
        Self::Quota,
        Self::Refused,
        Self::Incomplete,
        Self::Drift,
        Self::Data,
        Self::Limit,
        Self::Conflict,
        Self::Store,
        Self::Query,
        Self::Denied,
        Self::Cancelled,
        Self::Internal,
    ];

    /// Returns the class's name as users see it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Transient => "transient",
            Self::Quota => "quota",
            Self::Refused => "refused",
            Self::Incomplete => "incomplete",
            Self::Drift => "drift",
            Self::Data => "data",
            Self::Limit => "limit",
            Self::Conflict => "conflict",
            Self::Store => "store",
            Self::Query => "query",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    /// Returns the class with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Returns the exit code of a command that ends with this class (`docs/exit-codes.md`).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Config => 2,
            Self::Transient => 10,
            Self::Quota => 11,
            Self::Refused => 12,
            Self::Incomplete => 13,
            Self::Drift => 14,
            Self::Data => 15,
            Self::Limit => 16,
            Self::Conflict => 17,
            Self::Store => 18,
            Self::Query => 20,
            Self::Denied => 21,
            Self::Cancelled => 130,
            Self::Internal => 70,
        }
    }

    /// Says whether the same attempt may succeed without a person's help.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Transient)
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// An error that knows its class, and what may help.
pub trait Classified: std::error::Error {
    /// Returns the class that decides about retry, exit code and status.
    fn class(&self) -> ErrorClass;
    /// Returns advice for the person who reads the error, if there is any.
    fn hint(&self) -> Option<String>;
}

/// Formats an error with all its causes on one line, as ` caused by: ` chains do in logs.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_distinct_and_names_round_trip() {
        let codes: std::collections::BTreeSet<_> = ErrorClass::ALL.iter().map(|class| class.exit_code()).collect();
        assert_eq!(codes.len(), ErrorClass::ALL.len());
        assert!(ErrorClass::ALL.iter().all(|class| ErrorClass::from_name(class.name()) == Some(*class)));
    }
}
