//! The HTTP side, tested over real connections against the application that `main.rs` starts, in this process on port 0.
//! Journeys through the program as a whole are in the `tests` package; here is what only this crate decides.

mod api_keys;
mod attachments;
mod audit;
mod audit_coverage;
mod browsers;
mod commands;
mod connections;
mod credentials;
mod definitions;
mod demonstration;
mod description;
mod errors;
mod feed;
mod parameters;
mod preconditions;
mod queries;
mod replays;
mod roles;
mod signatures;
mod streamed;
mod support;
