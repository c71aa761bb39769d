//! The command line's commands, one file each; this one picks, and turns failures into one line and an exit status.
//! Called by `main.rs`. Exit 0: done. 1: it failed, or `verify` or `replay --shadow` found a difference. 2: the command line or configuration is wrong,
//! what was named cannot be opened, or `verify` could not read it all. 3: `replay --shadow` could not compare everything, and nothing differs in what
//! it could.

/// A line for standard output. Who reads it may have gone (`| head -1`), or its disk be full: that is an error, where `println!` would panic.
macro_rules! print_line {
    ($($part:tt)*) => { std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($part)*))) };
}

mod attached;
mod backtest;
mod demo;
mod export;
mod import;
mod migrate;
mod rebuild;
mod replay;
mod rules;
mod serve;
mod skip;
mod token;
mod verify;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use chrono::Utc;
use formledger_domain::{Position, TenantContext, TenantId};
use formledger_projections::{OpenError, RebuildError};
use formledger_store::{Store, StoreError, StoreSettings, causes};

use crate::app::{StartError, ledger_file, open_ledger};
use crate::config::{Cli, Command, ConfigError, Storage};

/// Runs the command that the command line names.
pub fn run() -> ExitCode {
    // Whatever is made holds what people submitted, or tells of it: in one place, because databases make files of their own. What is there already
    // stays as it is.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    match execute(cli.command) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("formledger: {}", one_line(&error));
            ExitCode::from(if is_configuration(&error) { 2 } else { 1 })
        }
    }
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(arguments) => serve::serve(&arguments),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Rebuild(arguments) => rebuild::rebuild(&arguments),
        Command::Skip(arguments) => skip::skip(&arguments),
        Command::Verify(arguments) => verify::verify(&arguments),
        Command::Rules(command) => rules::rules(&command),
        Command::Backtest(arguments) => backtest::backtest(&arguments),
        Command::Migrate(arguments) => migrate::migrate(&arguments),
        Command::Export(arguments) => export::export(&arguments),
        Command::Import(arguments) => import::import(&arguments),
        Command::Replay(arguments) => replay::replay(&arguments),
        Command::Token(arguments) => token::token(&arguments),
    }
}

/// Opens a ledger that is there.
async fn existing_ledger(storage: &Storage) -> anyhow::Result<Store> {
    if storage.database.is_none() {
        existing_file(storage)?;
    }
    // Tools append nothing, so the batch size does not matter.
    Ok(open_ledger(storage, 1).await?)
}

/// As [`existing_ledger`], for a tool that reads nothing else: a standby of the ledger's database will do, and a login that may not record; and a
/// file that cannot be written.
async fn readable_ledger(storage: &Storage) -> anyhow::Result<Store> {
    let opened = match &storage.database {
        Some(postgres) => Store::open_postgres_to_read(postgres, StoreSettings::default()).await,
        None => Store::open_sqlite_to_read(&existing_file(storage)?, StoreSettings::default()).await,
    };
    Ok(opened.map_err(StartError::from)?)
}

/// Where the embedded ledger is that has to be there: a tool that only reads must not make an empty one where the path is misspelt.
fn existing_file(storage: &Storage) -> Result<PathBuf, ConfigError> {
    let file = ledger_file(&storage.data);
    match std::fs::metadata(&file) {
        Ok(there) if there.is_file() => Ok(file),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(ConfigError(format!("`{}` cannot be looked at: {error}", file.display())))
        }
        _ => Err(ConfigError(format!(
            "there is no ledger in `{}`; name its directory with `--data`",
            storage.data.display()
        ))),
    }
}

/// Refuses a name that nobody has: what a tool says of no events at all would be taken for an answer.
async fn existing_tenant(store: &Store, tenant: &TenantId) -> anyhow::Result<()> {
    let context = TenantContext::system(tenant.clone(), "look", Utc::now());
    let ledger = store.ledger(&context);
    // One whose head is damaged is there, and so is one whose head is gone or whose first event cannot be read.
    let found = match ledger.head().await {
        Ok(head) if head.position == Position::START => {
            ledger.read_after(Position::START, 1).await.map(|first| !first.is_empty())
        }
        found => found.map(|_| true),
    };
    let is_there = match found {
        Err(StoreError::Damaged(_)) => true,
        found => found?,
    };
    if !is_there {
        return Err(ConfigError(format!("there is no tenant `{tenant}` in this ledger")).into());
    }
    Ok(())
}

/// Help and version go to standard output; anything else is one line, because scripts read it.
fn explain(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let told = error.print();
        return if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    eprintln!("formledger: {}", first_words(&error.to_string()));
    ExitCode::from(2)
}

/// What clap says is wrong, and what it thinks was meant, without the usage behind it.
fn first_words(text: &str) -> String {
    let mut lines = text.lines().map(str::trim);
    let wrong = lines.by_ref().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let meant = lines.filter_map(|line| line.strip_prefix("tip: "));
    let told: Vec<&str> = std::iter::once(wrong.trim_start_matches("error: ")).chain(meant).collect();
    told.join("; ")
}

fn is_configuration(error: &anyhow::Error) -> bool {
    let start = error.downcast_ref();
    error.is::<ConfigError>()
        || matches!(error.downcast_ref(), Some(RebuildError::Open(_)))
        || error.is::<OpenError>()
        || matches!(
            start,
            Some(
                StartError::Config(_)
                    | StartError::DataDirectory { .. }
                    | StartError::Attachments(_)
                    | StartError::Listen { .. }
                    | StartError::ReadModels(_)
                    | StartError::Replica(_)
            )
        )
        // The database that was named is not there, or not one for this program.
        || matches!(
            start,
            Some(StartError::Ledger(
                StoreError::Unreachable(_)
                    | StoreError::Unusable(_)
                    | StoreError::MissingPrivilege(_)
                    | StoreError::NewerSchema { .. }
            ))
        )
}

fn one_line(error: &anyhow::Error) -> String {
    causes(error.as_ref()).replace('\n', " ")
}
