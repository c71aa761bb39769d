//! Arguments of `history`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;

use super::{seconds, write_text};
use crate::contestant::{Contestant, Kind, Storage};
use crate::history::{self, HistoryPlan};
use crate::machine::Machine;

/// `history`: which server, how long, and how much there is to look back on.
#[derive(Debug, Args)]
pub struct HistoryArguments {
    /// The server's program.
    #[arg(long)]
    formledger: PathBuf,
    /// Pairs of measurements, as it is and as it was.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3.0)]
    duration: f64,
    /// Connections of each measurement of a submission.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Events of the submission that is looked at.
    #[arg(long, default_value_t = 50)]
    events: u64,
    /// Open tasks.
    #[arg(long, default_value_t = 100_000)]
    tasks: u64,
    /// Submissions with 25 fields and 3 rules beside them.
    #[arg(long, default_value_t = 150_000)]
    submissions: u64,
    /// The server keeps its data below this folder; it should be a real disk.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    data_root: PathBuf,
    /// Write the figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// More arguments for the server, such as `--log=warn`.
    #[arg(long = "serve-argument", allow_hyphen_values = true)]
    serve_arguments: Vec<String>,
}

/// Runs it and prints the figures.
///
/// # Errors
/// The server does not start or dies, or its shadow differs from its live rows.
pub fn history(arguments: HistoryArguments) -> Result<ExitCode> {
    let mut serve = vec!["serve".to_owned()];
    serve.extend(arguments.serve_arguments);
    let contestant = Contestant {
        name: "formledger".into(),
        program: arguments.formledger,
        arguments: serve,
        kind: Kind::Formledger { tenants: 1 },
        storage: Storage::Embedded,
        recorded: 0,
        stays: false,
    };
    let history = history::run(&HistoryPlan {
        contestant,
        rounds: arguments.rounds,
        duration: seconds(arguments.duration)?,
        connections: arguments.connections,
        events: arguments.events,
        tasks: arguments.tasks,
        submissions: arguments.submissions,
        data_root: arguments.data_root,
    })?;
    println!("{history}");
    if let Some(path) = &arguments.json {
        let report = serde_json::json!({ "machine": Machine::here(), "history": history });
        write_text(path, &serde_json::to_string_pretty(&report)?)?;
    }
    ensure!(history.shadow_differences == 0, "the shadow differs from the live rows");
    Ok(ExitCode::SUCCESS)
}
