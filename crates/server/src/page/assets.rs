//! The scripts and styles of the page, as `build.rs` made them, and whose licences hold for them. Names carry the hash of
//! what is inside, so that browsers may keep them for ever. Built with `HAMBAR_PAGE=none`, there are none.

/// A file for browsers.
#[derive(Debug)]
pub(crate) struct Asset {
    /// Its name with its hash, as it stands after `/assets/`.
    pub(crate) path: &'static str,
    pub(crate) media_type: &'static str,
    pub(crate) bytes: &'static [u8],
    /// The same, compressed with Brotli, where that is shorter.
    pub(crate) br: Option<&'static [u8]>,
}

/// A library that is part of the files.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// An SPDX expression.
    pub(crate) licence: &'static str,
    /// The licence itself, with whom to name.
    pub(crate) text: &'static str,
}

// `ASSETS`: all files. `MANIFEST`: the names by which pages ask for some of them (`main.js`, `style.css`, `icon.svg`),
// with the paths that they have. `NOTICES`: the libraries.
include!(concat!(env!("OUT_DIR"), "/assets.rs"));
