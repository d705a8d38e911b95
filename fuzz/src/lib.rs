//! The targets of `crates/decode/tests/it/targets.rs` for libFuzzer. A package outside the workspace: nothing else builds
//! it, and its instrumented dependencies stay apart.

#[path = "../../crates/decode/tests/it/reading.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod reading;
#[path = "../../crates/decode/tests/it/targets.rs"]
mod targets;

/// Runs the target `name` on `data`.
///
/// # Panics
/// Where the target finds a fault, and for a name that is none.
pub fn run(name: &str, data: &[u8]) {
    let found = targets::TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = found.unwrap_or_else(|| panic!("no target `{name}`"));
    target(data);
}
