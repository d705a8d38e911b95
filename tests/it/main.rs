//! Rules that hold for the repository as a whole: crate edges, file sizes, documentation.

mod docs;
mod edges;
mod files;

use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
