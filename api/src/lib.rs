//! Formledger's HTTP side and command line: routes, credentials, feeds, and the composition root that `main.rs` and tests start.
//! It holds no business rule: commands go to `domain` through `store`, queries to `projections`.

mod accept;
mod access;
mod api_keys;
mod app;
mod attachments;
mod audit;
mod audit_settings;
mod auth;
mod backtest;
mod begun;
mod body;
mod bounded;
mod bulk;
mod call;
mod catalogue;
mod cloudevents;
mod command;
mod config;
mod demo;
mod diff;
mod error;
mod event_types;
mod events;
mod exports;
mod feed;
mod fields;
mod form_queries;
mod forms;
mod head;
mod hex;
mod idempotency;
mod ids;
mod lasting;
mod ledger;
mod limits;
mod logging;
mod members;
mod metrics;
mod numbers;
mod openapi;
mod operations;
mod outcome;
mod params;
mod past;
mod places;
mod precondition;
mod problem;
mod process;
mod query;
mod replays;
mod router;
mod server;
mod standbys;
mod stats;
mod stopping;
mod submission_queries;
mod submissions;
mod tasks;
mod tenant_states;
mod tenants;
mod timers;
mod times;
mod upkeep;
mod workflow;

pub mod cli;

/// The matrix of routes and roles, as Markdown; `docs/roles.md` shows it.
pub fn route_matrix() -> String {
    access::matrix(router::rules())
}

pub use app::{App, StartError};
pub use auth::mint;
pub use config::{AuthSettings, ConfigError, Settings, Storage};
pub use limits::Limits;
