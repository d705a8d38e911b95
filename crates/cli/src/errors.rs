//! Errors as people and scripts see them: the chain of causes, advice, and the exit code of the class.

use std::io::Write;
use std::process::ExitCode;

use hambar_core::{Classified, ErrorClass, StoreError};

/// A failure that a command has already told in its own words.
#[derive(Debug)]
pub(crate) struct Told(pub(crate) ErrorClass);

impl std::fmt::Display for Told {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "the command ended with class {}", self.0)
    }
}

impl std::error::Error for Told {}

/// Prints the error to standard error and returns the exit code of its class.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let (class, hint) = classify(error);
    let mut terminal = std::io::stderr().lock();
    if error.downcast_ref::<Told>().is_none() {
        let mut text = format!("error: {error}\n");
        for cause in error.chain().skip(1) {
            text.push_str(&format!("  caused by: {cause}\n"));
        }
        let position = error.chain().find_map(|cause| cause.downcast_ref::<hambar_query::QueryError>()?.position());
        if let Some(position) = position {
            text.push_str(&format!("  at {position}\n"));
        }
        if let Some(hint) = hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        // Nobody is left to tell where standard error is closed.
        let _ = terminal.write_all(text.as_bytes());
    }
    ExitCode::from(class.exit_code())
}

/// The class of an error, for commands that go on after one.
pub(crate) fn class(error: &anyhow::Error) -> ErrorClass {
    classify(error).0
}

/// The class of an error of the system, where it says enough: a full or failing disk is none of configuration.
fn class_of(error: &std::io::Error) -> Option<ErrorClass> {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::BrokenPipe => Some(ErrorClass::Cancelled),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem => Some(ErrorClass::Store),
        _ if error.raw_os_error() == Some(nix::errno::Errno::EIO as i32) => Some(ErrorClass::Store),
        _ => None,
    }
}

/// Finds the innermost cause that knows its class; an error that nobody classified is one of configuration or use.
fn classify(error: &anyhow::Error) -> (ErrorClass, Option<String>) {
    let mut found = None;
    for cause in error.chain() {
        let known: Option<&dyn Classified> = cause
            .downcast_ref::<StoreError>()
            .map(|error| error as &dyn Classified)
            .or_else(|| cause.downcast_ref::<hambar_fetch::FetchError>().map(|error| error as &dyn Classified))
            .or_else(|| cause.downcast_ref::<hambar_decode::DecodeError>().map(|error| error as &dyn Classified))
            .or_else(|| cause.downcast_ref::<hambar_connect::ConnectError>().map(|error| error as &dyn Classified))
            .or_else(|| cause.downcast_ref::<hambar_query::QueryError>().map(|error| error as &dyn Classified))
            .or_else(|| cause.downcast_ref::<hambar_run::RunError>().map(|error| error as &dyn Classified))
            .or_else(|| cause.downcast_ref::<hambar_server::AccessError>().map(|error| error as &dyn Classified))
            .or_else(|| cause.downcast_ref::<hambar_server::NetError>().map(|error| error as &dyn Classified))
            .or_else(|| cause.downcast_ref::<hambar_server::FrontError>().map(|error| error as &dyn Classified));
        if let Some(known) = known {
            found = Some((known.class(), known.hint()));
        } else if let Some(Told(class)) = cause.downcast_ref::<Told>() {
            found = Some((*class, None));
        } else if let Some(error) = cause.downcast_ref::<std::io::Error>()
            && let Some(class) = class_of(error)
        {
            found = Some((class, None));
        }
    }
    found.unwrap_or((ErrorClass::Config, None))
}
