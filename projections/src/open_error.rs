//! Why a database cannot be used for read models, said to whoever runs the program: what is wrong with it, and what would be right.
//! Made by whatever opens one; no statement is here.

use formledger_domain::TenantId;

use crate::health::is_outage;

/// Why a read-model database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It was written by a newer binary.
    #[error(
        "the read models are at schema {found}, this binary knows {known}: use the newer binary, or {otherwise} to have them made again"
    )]
    Newer {
        /// Their schema version.
        found: i64,
        /// The newest one this binary knows.
        known: i64,
        /// What to take away for this binary to begin anew.
        otherwise: &'static str,
    },
    /// Its read models are of an earlier version, and perhaps of another installation: it was none of this program's when that began.
    #[error(
        "the read models at `{place}` are at schema {found}, this binary knows {known}: if they are of this ledger, start the program again, which brings them there"
    )]
    Older {
        /// Server and database.
        place: String,
        /// Their schema version.
        found: i64,
        /// The newest one this binary knows.
        known: i64,
    },
    /// It is a database of something else.
    #[error("it is not a read-model database but something else: state another one")]
    Foreign,
    /// The URL names no Postgres database.
    #[error("the URL is not a Postgres URL: write `postgres://<user>:<password>@<host>:<port>/<database>`")]
    Url,
    /// The Postgres server does not answer or does not let this user in.
    #[error("the read-model database at `{place}` does not let us in")]
    Unreachable {
        /// Server and database.
        place: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The login may not make the schema.
    #[error(
        "the login may not make or change the read models at `{place}`: run `formledger migrate` as the database's owner first"
    )]
    MissingPrivilege {
        /// Server and database.
        place: String,
        /// What the server says.
        source: sqlx::Error,
    },
    /// The Postgres server is too old.
    #[error("the read-model database is Postgres {found}: use {least} or newer")]
    PostgresTooOld {
        /// Its major version.
        found: i32,
        /// The oldest one that will do.
        least: i32,
    },
    /// A standby whose primary holds no read models.
    #[error(
        "the standby at `{place}` holds no read models: state its primary as a replica too, so that they are kept there"
    )]
    StandbyEmpty {
        /// Server and database.
        place: String,
    },
    /// Its rows were made from another ledger.
    #[error(
        "the read models at `{place}` were made from another ledger, which has tenant `{tenant}` too or instead: state another database, or \
         drop its schema `read_models` to have them made from this one"
    )]
    OtherLedger {
        /// Server and database.
        place: String,
        /// One of its tenants.
        tenant: TenantId,
    },
    /// A rebuild has the file to itself.
    #[error("a rebuild puts a fresh file in the place of `{path}`: start again when it has ended")]
    BeingExchanged {
        /// The file.
        path: String,
    },
    /// The database refused or failed.
    #[error("the read-model database failed")]
    Database(#[from] sqlx::Error),
}

impl OpenError {
    /// Whether the database is away and may come back, rather than that it cannot be used as it is.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } | Self::Database(source) => is_outage(source),
            _ => false,
        }
    }
}
