//! Connectors against scripted and recorded answers: no network, no clock.

mod auth;
mod ckan;
mod http_file;
mod memory;
mod paging;
mod providers;
mod sdmx;
mod spec;
