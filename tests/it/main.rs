//! Rules that hold for the repository as a whole: crate edges, file sizes, documentation.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, their helpers too")]

mod docs;
mod edges;
mod files;

use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
