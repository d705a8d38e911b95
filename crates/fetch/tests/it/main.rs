//! The fetch stack against servers that misbehave, and against real recordings.

mod conditional;
mod faults;
mod redirects;
mod replay;
mod resume;
mod retries;
mod secrets;
mod support;
