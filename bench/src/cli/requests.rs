//! Arguments of `requests`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::{seconds, write_text};
use crate::contestant::{Contestant, Kind, Storage};
use crate::machine::Machine;
use crate::requests::{self, RequestsPlan};

/// `requests`: which servers, how long, and how much there is to ask for.
#[derive(Debug, Args)]
pub struct RequestsArguments {
    /// The server's program; given several times, they are asked in turns and compared with the first.
    #[arg(long, required = true)]
    formledger: Vec<PathBuf>,
    /// What they stand on; on `postgres` each has a server of its own.
    #[arg(long, default_value = "embedded")]
    storage: Storage,
    /// Turns of each kind of request.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0)]
    duration: f64,
    /// Connections of each measurement.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Submissions recorded before, of each of two forms.
    #[arg(long, default_value_t = 20_000)]
    submissions: u64,
    /// The servers keep their data below this folder; it should be a real disk.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    data_root: PathBuf,
    /// Write the figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs it and prints the figures.
///
/// # Errors
/// A server does not start, or answers with another status than it should.
pub fn requests(arguments: RequestsArguments) -> Result<ExitCode> {
    let contestants = arguments.formledger.into_iter().map(|program| Contestant {
        name: program.display().to_string(),
        program,
        arguments: vec!["serve".to_owned()],
        kind: Kind::Formledger { tenants: 1 },
        storage: arguments.storage,
        recorded: 0,
        stays: false,
    });
    let requests = requests::run(&RequestsPlan {
        contestants: contestants.collect(),
        rounds: arguments.rounds,
        duration: seconds(arguments.duration)?,
        connections: arguments.connections,
        submissions: arguments.submissions,
        data_root: arguments.data_root,
    })?;
    println!("{requests}");
    if let Some(path) = &arguments.json {
        let report = serde_json::json!({ "machine": Machine::here(), "requests": requests });
        write_text(path, &serde_json::to_string_pretty(&report)?)?;
    }
    Ok(ExitCode::SUCCESS)
}
