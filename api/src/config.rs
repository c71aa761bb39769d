//! The command line and the environment, and the settings that come of them; nothing else reads the environment.
//! Called by `cli`. Every option is also `FORMLEDGER_<OPTION>`; what contradicts itself is one line and exit status 2.

mod attachments;
mod history;
mod origins;
mod read_models;
mod storage;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use formledger_domain::{FormId, Position, TenantId};
use formledger_projections::{MomentSettings, ReadModelPlace};
use formledger_store::PostgresOptions;

use crate::limits::Limits;
pub use attachments::AttachmentPlace;
pub use history::{ImportArgs, ReplayArgs};
use origins::origin;
pub use read_models::{RebuildArgs, SkipArgs};
pub use storage::{Storage, StorageArgs};

/// Formledger records what happened to forms that have consequences.
#[derive(Debug, Parser)]
#[command(name = "formledger", version, arg_required_else_help = false)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of API.md.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Run the server with a tenant of realistic forms and submissions, and print curl lines to paste
    Demo(ServeArgs),
    /// Mint a token with the configured secret
    Token(TokenArgs),
    /// Bring the database's schema up to date
    Migrate(StorageArgs),
    /// Build read models again from the ledger, while the old ones keep serving
    Rebuild(RebuildArgs),
    /// Let a projection that stopped before an event pass over it, for good; who decided so and why is kept
    Skip(SkipArgs),
    /// Check the ledger's integrity; a difference is a non-zero exit
    Verify(TenantsArgs),
    /// Write a tenant's whole ledger as NDJSON
    Export(ExportArgs),
    /// Put an exported ledger into an empty tenant: positions, times and hashes stay
    Import(ImportArgs),
    /// Let a range of a tenant's ledger go by again as NDJSON, or compare shadow read models with the live ones
    Replay(ReplayArgs),
    /// Check or evaluate rules
    #[command(subcommand, arg_required_else_help = false)]
    Rules(RulesCommand),
    /// Run candidate rules over a form's history: changed outcomes as NDJSON, then a summary
    Backtest(BacktestArgs),
}

/// How the server listens, trusts and limits.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Where the ledger is.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// Address to listen on; port 0 picks one
    #[arg(long, env = "FORMLEDGER_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Secret that signs and checks HS256 tokens
    #[arg(long, env = "FORMLEDGER_JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<String>,
    /// Secret from before, whose tokens are accepted still and which signs none; empty for none
    #[arg(long, env = "FORMLEDGER_JWT_SECRET_PREVIOUS", hide_env_values = true)]
    pub jwt_secret_previous: Option<String>,
    /// File with a JSON Web Key Set that checks RS256 and EdDSA tokens; read again when it changes, and at SIGHUP
    #[arg(long, env = "FORMLEDGER_JWKS")]
    pub jwks: Option<String>,
    /// Accept only tokens whose `aud` names this audience
    #[arg(long, env = "FORMLEDGER_JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,
    /// Tenants exist only after `POST /v1/tenants`, not from their administrator's first command
    #[arg(long, env = "FORMLEDGER_PROVISIONED_TENANTS")]
    pub provisioned_tenants: bool,
    /// Origin whose browser programs may read answers, for example `https://app.example.com`; repeat it or separate by commas, `*` for any; none when missing
    #[arg(long = "cors-origin", env = "FORMLEDGER_CORS_ORIGIN", value_delimiter = ',', value_parser = origin)]
    pub cors_origins: Vec<String>,
    /// Commands per transaction; 1 turns group commit off, for comparison
    #[arg(long, env = "FORMLEDGER_APPEND_BATCH_MAX", default_value_t = 512,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub append_batch_max: u16,
    /// Connections served at once; more are answered 503
    #[arg(long, env = "FORMLEDGER_CONNECTIONS_MAX", default_value_t = 10_000,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub connections_max: usize,
    /// Compiled forms that are kept in memory, the same text of several tenants counted once
    #[arg(long, env = "FORMLEDGER_COMPILED_FORMS_MAX", default_value_t = 5_000,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub compiled_forms_max: usize,
    /// Bytes of a request's body; more is answered 413
    #[arg(long, env = "FORMLEDGER_BODY_BYTES_MAX", default_value_t = 1024 * 1024,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub body_bytes_max: usize,
    /// Bytes that lists of the past may take in the data directory, one moment half of it; 0 turns them off
    #[arg(long, env = "FORMLEDGER_PAST_BYTES_MAX", default_value_t = 4 * 1024 * 1024 * 1024)]
    pub past_bytes_max: u64,
    /// Bytes that lists of the past leave free on the disk of the data directory
    #[arg(long, env = "FORMLEDGER_PAST_DISK_RESERVE_BYTES", default_value_t = 1024 * 1024 * 1024)]
    pub past_disk_reserve_bytes: u64,
}

/// Whose token to mint.
#[derive(Debug, Clone, Args)]
pub struct TokenArgs {
    /// The tenant
    #[arg(long, env = "FORMLEDGER_TENANT")]
    pub tenant: TenantId,
    /// Who the token speaks for
    #[arg(long, env = "FORMLEDGER_SUBJECT")]
    pub subject: String,
    /// Roles, separated by commas
    #[arg(long, env = "FORMLEDGER_ROLES", value_delimiter = ',', required = true, value_parser = role)]
    pub roles: Vec<String>,
    /// How long the token lasts, for example `90s`, `30m`, `1h`, `7d`; a number alone is seconds
    #[arg(long, env = "FORMLEDGER_TTL", default_value = "1h", value_parser = some_time)]
    pub ttl: Duration,
    /// Secret that signs the token
    #[arg(long, env = "FORMLEDGER_JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<String>,
}

/// Which tenants a tool works on.
#[derive(Debug, Clone, Args)]
pub struct TenantsArgs {
    /// Where the ledger is.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// Only this tenant
    #[arg(long, env = "FORMLEDGER_TENANT")]
    pub tenant: Option<TenantId>,
}

/// What to export, and where to.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Where the ledger is.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// The tenant
    #[arg(long, env = "FORMLEDGER_TENANT")]
    pub tenant: TenantId,
    /// File to write; standard output when missing
    #[arg(long, env = "FORMLEDGER_OUT")]
    pub out: Option<PathBuf>,
}

/// Which candidate to run over which history.
#[derive(Debug, Clone, Args)]
pub struct BacktestArgs {
    /// Where the ledger is.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// The tenant
    #[arg(long, env = "FORMLEDGER_TENANT")]
    pub tenant: TenantId,
    /// The form
    #[arg(long, env = "FORMLEDGER_FORM")]
    pub form: FormId,
    /// The candidate: a JSON list of rules, or an object with `rules`
    #[arg(long, env = "FORMLEDGER_RULES")]
    pub rules: PathBuf,
    /// First position of the range; the ledger's first when missing
    #[arg(long, env = "FORMLEDGER_FROM", value_parser = position)]
    pub from: Option<Position>,
    /// Last position of the range; the ledger's end when missing
    #[arg(long, env = "FORMLEDGER_TO", value_parser = position)]
    pub to: Option<Position>,
}

/// Tools for rule authors.
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Type-check a form definition
    Check {
        /// The definition
        #[arg(long, env = "FORMLEDGER_FORM")]
        form: PathBuf,
    },
    /// Evaluate single expressions, a JSON object a line on standard input
    ///
    /// A line is `{"expr": "a + 1", "bindings": {"a": {"int64Value": "2"}}}`; `bindings` may be missing. Its answer is a line, `{"value": {"int64Value": "3"}}`
    /// or `{"error": "…"}`. Values are written in the protobuf JSON form of `cel.expr.Value`, which docs/rules.md lists under "Single expressions".
    Eval,
    /// Read decision tables of another engine and print them as `{"rules": […]}`
    Import {
        /// The document's format
        #[arg(long, env = "FORMLEDGER_FORMAT")]
        format: TableFormat,
        /// The document
        file: PathBuf,
    },
    /// Print a form definition's decision tables for another engine
    Export {
        /// The format to write
        #[arg(long, env = "FORMLEDGER_FORMAT")]
        format: TableFormat,
        /// The definition, or a list of rules
        #[arg(long, env = "FORMLEDGER_FORM")]
        form: PathBuf,
    },
}

/// Formats of decision tables.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum TableFormat {
    /// DMN 1.3 and later, XML
    Dmn,
    /// JDM of GoRules, JSON
    Jdm,
}

/// What the command line asks for that cannot be done; one line for a person.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// How tokens are trusted.
#[derive(Debug, Clone, Default)]
pub struct AuthSettings {
    /// Checks and mints HS256 tokens.
    pub jwt_secret: Option<String>,
    /// Checks HS256 tokens that were signed before it was replaced.
    pub jwt_secret_previous: Option<String>,
    /// Path of a JSON Web Key Set.
    pub jwks: Option<PathBuf>,
    /// The audience that tokens must name.
    pub jwt_audience: Option<String>,
}

impl AuthSettings {
    /// Whether tokens could be forged by trying secrets. They are taken all the same, because a secret that an identity provider chose
    /// cannot be changed here; the application warns.
    pub fn has_weak_secret(&self) -> bool {
        let secrets = [&self.jwt_secret, &self.jwt_secret_previous];
        secrets.into_iter().flatten().any(|secret| secret.len() < SECRET_BYTES_ADVISED)
    }
}

/// Everything that the application needs to start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the ledger is.
    pub storage: Storage,
    /// Databases that answer queries before the ledger's own.
    pub replicas: Vec<ReadModelPlace>,
    /// Those of them that may be standbys of the ledger's database.
    pub possible_standbys: Vec<PostgresOptions>,
    /// How tokens are trusted.
    pub auth: AuthSettings,
    /// Tenants exist only after an operator made them.
    pub provisioned_tenants: bool,
    /// Other origins whose browser programs may read answers, as browsers write them; `*` is any.
    pub cors_origins: Vec<String>,
    /// Commands per transaction.
    pub append_batch_max: usize,
    /// Limits of requests and connections.
    pub limits: Limits,
    /// Limits of past moments.
    pub moments: MomentSettings,
}

impl Cli {
    /// Reads the command line of this process.
    ///
    /// # Errors
    /// What clap says, help and version included.
    pub fn read() -> Result<Self, clap::Error> {
        Self::read_from(std::env::args_os())
    }

    fn read_from(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments)
    }
}

impl ServeArgs {
    /// The settings that these arguments ask for.
    ///
    /// # Errors
    /// A combination that cannot be served.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        Ok(Settings {
            listen: self.listen,
            storage: self.storage.storage()?,
            replicas: self.storage.replicas()?,
            possible_standbys: self.storage.possible_standbys()?,
            auth: AuthSettings {
                jwt_secret: secret(self.jwt_secret.as_deref())?,
                jwt_secret_previous: self.previous_secret()?,
                jwks: self.jwks.as_deref().map(jwks_file).transpose()?,
                jwt_audience: self.jwt_audience.clone(),
            },
            provisioned_tenants: self.provisioned_tenants,
            // An empty one is none, so a deployment can always name the variable.
            cors_origins: self.cors_origins.iter().filter(|origin| !origin.is_empty()).cloned().collect(),
            append_batch_max: usize::from(self.append_batch_max),
            limits: Limits {
                connections_max: self.connections_max,
                compiled_forms_max: self.compiled_forms_max,
                body_bytes_max: self.body_bytes_max,
                ..Limits::default()
            },
            moments: MomentSettings::with_bytes(self.past_bytes_max, self.past_disk_reserve_bytes),
        })
    }

    /// An empty one is none: so a deployment can always name the variable, and fill it while a secret is replaced.
    fn previous_secret(&self) -> Result<Option<String>, ConfigError> {
        let previous = self.jwt_secret_previous.as_ref().filter(|secret| !secret.is_empty());
        if previous.is_some() && self.jwt_secret.is_none() {
            let what = "`--jwt-secret-previous` is the secret before `--jwt-secret`; give that as well, or only that";
            return Err(ConfigError(what.to_owned()));
        }
        Ok(previous.cloned())
    }
}

impl TokenArgs {
    /// The secret to sign with.
    ///
    /// # Errors
    /// When none is configured.
    pub fn secret(&self) -> Result<String, ConfigError> {
        secret(self.jwt_secret.as_deref())?
            .ok_or_else(|| ConfigError("give the secret that signs the token with `--jwt-secret`".to_owned()))
    }
}

fn secret(given: Option<&str>) -> Result<Option<String>, ConfigError> {
    match given {
        Some("") => Err(ConfigError("`--jwt-secret` is empty; give at least 32 random bytes".to_owned())),
        other => Ok(other.map(str::to_owned)),
    }
}

fn jwks_file(given: &str) -> Result<PathBuf, ConfigError> {
    if given.starts_with("http://") || given.starts_with("https://") {
        return Err(ConfigError(format!(
            "`--jwks {given}`: this version reads a key set from a file; fetch it and give its path"
        )));
    }
    Ok(given.into())
}

/// A position of a ledger, from 1.
fn position(text: &str) -> Result<Position, String> {
    match text.parse() {
        Ok(position) if position > 0 => Ok(Position(position)),
        _ => Err("a position is a whole number from 1".to_owned()),
    }
}

/// Reads a [`duration`] that is not over at once.
fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("use some time, for example `1h`".to_owned()),
        time => Ok(time),
    }
}

/// Reads one of the roles between commas.
fn role(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_name = !text.is_empty() && !text.chars().any(char::is_whitespace);
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("name roles between commas, for example `submitter,reviewer`".to_owned())
    }
}

/// Reads `90s`, `30m`, `1h` or `7d`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len());
    let seconds_each = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("use a number and `s`, `m`, `h` or `d`, for example `1h`".to_owned()),
    };
    let count: u64 =
        digits.parse().map_err(|_| "use a number and `s`, `m`, `h` or `d`, for example `1h`".to_owned())?;
    count
        .checked_mul(seconds_each)
        .filter(|seconds| *seconds <= TTL_SECONDS_MAX)
        .map(Duration::from_secs)
        .ok_or_else(|| "use at most ten years".to_owned())
}

/// The longest token lifetime that can be minted, ten years in seconds.
const TTL_SECONDS_MAX: u64 = 10 * 365 * 86_400;

/// RFC 7518 section 3.2 asks for a key as long as the hash, in bytes.
const SECRET_BYTES_ADVISED: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(arguments: &[&str]) -> Result<Settings, ConfigError> {
        let line = ["formledger", "serve"].iter().chain(arguments).map(OsString::from);
        let Command::Serve(args) = Cli::read_from(line).expect("reads").command else { panic!("serve") };
        args.settings()
    }

    #[test]
    fn a_key_set_is_a_file_and_a_url_is_refused_with_the_way_out() {
        let error = serve(&["--jwks", "https://issuer.example/keys"]).expect_err("a URL");
        assert!(error.to_string().contains("fetch it and give its path"));
        assert_eq!(serve(&["--jwks", "keys.json"]).expect("a file").auth.jwks, Some("keys.json".into()));
    }

    #[test]
    fn a_previous_secret_is_beside_a_secret_and_an_empty_one_is_none() {
        let auth = |arguments: &[&str]| serve(arguments).map(|settings| settings.auth);
        let both = auth(&["--jwt-secret", "new", "--jwt-secret-previous", "old"]).expect("two secrets");
        assert_eq!(
            (both.jwt_secret.as_deref(), both.jwt_secret_previous.as_deref()),
            (Some("new"), Some("old"))
        );
        let none = auth(&["--jwt-secret", "new", "--jwt-secret-previous", ""]).expect("one secret");
        assert_eq!(none.jwt_secret_previous, None);
        let error =
            auth(&["--jwt-secret-previous", "old", "--jwks", "keys.json"]).expect_err("before which?");
        assert!(error.to_string().contains("`--jwt-secret`"), "{error}");
    }

    #[test]
    fn a_database_has_a_postgres_url_and_a_wrong_one_is_never_printed() {
        let url = "postgres://user:hunter2@localhost/ledger";
        let listen = ["--database-listen-url", "postgres://localhost:5432/ledger"];
        let both = [&["--database-url", url], &listen[..]].concat();
        let settings = serve(&both).expect("a URL");
        assert!(settings.storage.database.is_some() && !format!("{settings:?}").contains("hunter2"));
        let error = serve(&["--database-url", "mysql://user:hunter2@localhost/x"]).expect_err("no Postgres");
        assert_eq!(error.to_string(), "`--database-url` is no `postgres://user@host:port/database`");
        let wrong = [
            "mysql://user:hunter2@localhost/x",
            "user:hunter2@localhost/x",
            "postgres:///user:hunter2@localhost/x",
            "postgres://user:5432/hunter2@localhost/x",
        ];
        for url in wrong {
            for option in ["--database-url", "--replica-url"] {
                let error = serve(&[option, url]).expect_err("no Postgres").to_string();
                assert!(error.starts_with(&format!("`{option}`")) && !error.contains("hunter2"), "{error}");
            }
        }
        serve(&["--replica-url", "postgres://user:hunter2@localhost/x?options=-c%20a=b/c@d"]).expect("a URL");
    }

    #[test]
    fn lifetimes_are_a_number_and_a_unit() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for bad in ["", "h", "1w", "-1s", "1.5h", "99999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
