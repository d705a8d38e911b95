//! A query worker and nothing else: what `hambar query-worker` is inside the one binary, for this crate's tests.

use std::process::ExitCode;
use std::sync::Arc;

use hambar_core::Clock;
use jiff::Timestamp;

#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "a composition root is where the clock is read")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

fn main() -> ExitCode {
    ExitCode::from(hambar_query::child_main(Arc::new(SystemClock)))
}
