//! The ledger on Postgres 14 or newer: many processes may write to one database, also to one ledger. Opened by `Store::open_postgres`.
//! Holds the only SQL of the log for this database; what to write is decided by `writer`. Choices and figures: docs/adr/0005.

mod apply;
mod bell;
mod error;
mod find_out;
mod lineage;
mod link;
mod options;
mod read;
mod schema;
mod write;

#[cfg(test)]
mod contract;

use std::time::Duration;

pub use options::PostgresOptions;
pub(crate) use read::{PostgresReader, Sight};
pub(crate) use write::PostgresBackend;

/// The oldest server that is supported, as `server_version_num` has it.
const SERVER_VERSION_MIN: u32 = 140_000;
/// How long a connection may take to be made before the database counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server that accepted a statement may stay silent before the connection is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
