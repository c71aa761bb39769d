//! The command line of the benchmarks: parses arguments, picks the subcommand, turns a failed bound into exit status 1.
//!
//! Nothing is measured here. See `bench/README.md` for the one command behind each published figure.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use formledger_bench::cli;

/// Load generator, CSV checker and comparisons for Formledger. Speaks HTTP/1.1 only.
#[derive(Parser)]
#[command(name = "formledger-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send requests to a running server, in open loop (--rate) or closed loop (--closed).
    Load(cli::LoadArguments),
    /// Check a CSV of samples against bounds; exit status 1 names every bound that failed.
    Check(cli::CheckArguments),
    /// Start the contestants, interleave rounds, print medians and ratios.
    Compare(cli::CompareArguments),
    /// The whole set of published figures: `compare`, then the open loop and its check.
    Figures(cli::FiguresArguments),
    /// What looking back costs: a past submission, a shadow of the read models, a long list of tasks.
    History(cli::HistoryArguments),
    /// What each kind of request costs: commands, lists, the past, statistics, exports, the feed; several programs in turns.
    Requests(cli::RequestsArguments),
    /// The noise floor: a bare hyper server that reads the body and answers 201.
    Floor(cli::FloorArguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Load(arguments) => cli::load(arguments),
        Command::Check(arguments) => cli::check(arguments),
        Command::Compare(arguments) => cli::compare(arguments),
        Command::Figures(arguments) => cli::figures(arguments),
        Command::History(arguments) => cli::history(arguments),
        Command::Requests(arguments) => cli::requests(arguments),
        Command::Floor(arguments) => cli::floor(arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
