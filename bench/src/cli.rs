//! Arguments of each subcommand and how they become plans; what is printed and which exit status comes out.
//!
//! Called by `main`. Nothing is measured here.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::check::{Bounds, SAMPLES_MIN_DEFAULT};
use crate::compare::{self, ComparePlan};
use crate::contestant::{Contestant, Kind, Storage};
use crate::figures::{self, FiguresPlan};
use crate::floor;
use crate::load::{self, LoadPlan, Pace};
use crate::machine::Machine;
use crate::pacer::Length;
use crate::percentile::Quantile;
use crate::report::Summary;
use crate::request::RequestTemplate;
use crate::sample;
use crate::schedule::Schedule;

mod history;
mod requests;

pub use history::{HistoryArguments, history};
pub use requests::{RequestsArguments, requests};

/// `load`: what to send, how fast, and where to put the results.
#[derive(Debug, Args)]
pub struct LoadArguments {
    /// Server, as `http://HOST:PORT`.
    #[arg(long)]
    url: String,
    /// Path and query; placeholders are expanded.
    #[arg(long, default_value = "/")]
    path: String,
    /// HTTP method.
    #[arg(long, default_value = "POST")]
    method: String,
    /// `Name: value`, may be repeated; placeholders are expanded.
    #[arg(long = "header")]
    headers: Vec<String>,
    /// File with the body; placeholders: {{seq}}, {{uuid}}, {{int:LOW:HIGH}}, {{pick:A|B|C}}.
    #[arg(long)]
    body_file: Option<PathBuf>,
    /// Open loop: arrivals a second on a fixed schedule.
    #[arg(long, required_unless_present = "closed", conflicts_with = "closed")]
    rate: Option<u64>,
    /// Closed loop: each connection sends as soon as it has its answer.
    #[arg(long)]
    closed: bool,
    /// Connections held open.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10.0, conflicts_with = "requests")]
    duration: f64,
    /// Requests to measure, instead of a duration.
    #[arg(long)]
    requests: Option<u64>,
    /// Seconds before anything is measured.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Seconds that answers may still take after the last request was due.
    #[arg(long, default_value_t = 30.0)]
    grace: f64,
    /// Exit with 1 if any request gets another status.
    #[arg(long)]
    expect_status: Option<u16>,
    /// The server's process: its CPU (children included) is divided by the answers.
    #[arg(long)]
    pid: Option<u32>,
    /// The first process of the server's database, where that is another: its CPU (children included) is divided by the answers.
    #[arg(long)]
    database_pid: Option<u32>,
    /// Write every sample as CSV.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// Write the summary as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs a load and prints its summary.
///
/// # Errors
/// Arguments that make no sense, or a server that cannot be reached.
pub fn load(arguments: LoadArguments) -> Result<ExitCode> {
    let (host, target) = host_of(&arguments.url)?;
    let body = arguments.body_file.as_deref().map(read_text).transpose()?;
    let headers =
        arguments.headers.iter().map(|header| name_and_value(header)).collect::<Result<Vec<_>>>()?;
    let request = RequestTemplate::new(&arguments.method, &arguments.path, host, &headers, body.as_deref())?;
    let pace = match arguments.rate {
        Some(rate) => Pace::Open(Schedule::new(rate).context("`--rate 0` sends nothing")?),
        None => Pace::Closed,
    };
    let length = match arguments.requests {
        Some(requests) => Length::Requests(requests),
        None => Length::Time(seconds(arguments.duration)?),
    };
    let run = load::run(LoadPlan {
        target,
        request,
        pace,
        connections: arguments.connections,
        warmup: seconds(arguments.warmup)?,
        length,
        grace: seconds(arguments.grace)?,
        server_pid: arguments.pid,
        database_pid: arguments.database_pid,
    })?;
    let summary = Summary::of(&run);
    println!("{summary}");
    if let Some(path) = &arguments.csv {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        sample::write_csv(&run.samples, &mut BufWriter::new(file))?;
    }
    if let Some(path) = &arguments.json {
        let report = serde_json::json!({ "machine": Machine::here(), "run": summary });
        write_text(path, &serde_json::to_string_pretty(&report)?)?;
    }
    let unexpected = arguments.expect_status.map_or(0, |status| summary.others_than(status));
    if unexpected > 0 {
        eprintln!("{unexpected} of {} requests were not answered as expected", summary.requests);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// `check`: a samples file and the bounds it must keep.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// CSV written by `load --csv`.
    csv: PathBuf,
    /// Fewer samples than this fail.
    #[arg(long, default_value_t = SAMPLES_MIN_DEFAULT)]
    min_samples: usize,
    /// Every sample must have this status.
    #[arg(long)]
    expect_status: Option<u16>,
    /// Intended times must lie on a fixed schedule of this many a second, without a gap.
    #[arg(long)]
    rate: Option<u64>,
    /// Bound on the median, in milliseconds.
    #[arg(long)]
    p50_max_ms: Option<f64>,
    /// Bound on the 90th percentile, in milliseconds.
    #[arg(long)]
    p90_max_ms: Option<f64>,
    /// Bound on the 99th percentile, in milliseconds.
    #[arg(long)]
    p99_max_ms: Option<f64>,
    /// Bound on the 99.9th percentile, in milliseconds.
    #[arg(long)]
    p999_max_ms: Option<f64>,
    /// Bound on the slowest, in milliseconds.
    #[arg(long)]
    max_ms: Option<f64>,
}

/// Checks a samples file; exit status 1 and a sentence for each bound that failed.
///
/// # Errors
/// The file cannot be read or is not a samples file.
pub fn check(arguments: CheckArguments) -> Result<ExitCode> {
    let stated = [
        (Quantile::P50, arguments.p50_max_ms),
        (Quantile::P90, arguments.p90_max_ms),
        (Quantile::P99, arguments.p99_max_ms),
        (Quantile::P99_9, arguments.p999_max_ms),
        (Quantile::MAX, arguments.max_ms),
    ];
    let latencies_max =
        stated.into_iter().filter_map(|(quantile, bound)| bound.map(|bound| (quantile, bound)));
    let bounds = Bounds {
        expect_status: arguments.expect_status,
        rate_per_second: arguments.rate,
        latencies_max: latencies_max
            .map(|(quantile, bound_ms)| Ok((quantile, milliseconds(bound_ms)?)))
            .collect::<Result<_>>()?,
        ..Bounds::samples(arguments.min_samples)
    };
    let file = File::open(&arguments.csv).with_context(|| format!("opening {}", arguments.csv.display()))?;
    let samples = sample::read_csv(BufReader::new(file))?;
    let violations = bounds.violations(&samples);
    for violation in &violations {
        eprintln!("failed: {violation}");
    }
    if violations.is_empty() {
        println!("{} samples, every bound holds", samples.len());
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

/// `compare`: who takes part and for how long.
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// The `formledger` program; it takes part on each of `--storage`.
    #[arg(long)]
    formledger: Option<PathBuf>,
    /// What Formledger stands on. On `embedded` it takes part twice, as it is and with one transaction for each command; on `postgres`,
    /// ledger and read models are in one database of a server of its own, made for each round.
    #[arg(long, value_delimiter = ',', default_value = "embedded")]
    storage: Vec<Storage>,
    /// The stock path, `formledger-bench-stock`: cqrs-es and postgres-es behind the same HTTP libraries, form and rules.
    #[arg(long)]
    stock: Option<PathBuf>,
    /// Tenants that Formledger's submissions are spread over, each with a form of its own.
    #[arg(long, default_value_t = 1)]
    tenants: usize,
    /// Submissions that Formledger has recorded in them before each measurement.
    #[arg(long, default_value_t = 0)]
    recorded: u64,
    /// Formledger takes part once more, with so many tenants and submissions recorded before its first round: what growth costs.
    #[arg(long, value_name = "TENANTS:SUBMISSIONS", value_parser = tenants_and_submissions)]
    grown: Option<(usize, u64)>,
    /// The comparison program built by `bench/go/build.sh`.
    #[arg(long)]
    go: Option<PathBuf>,
    /// Leave the noise floor (a bare HTTP server) out.
    #[arg(long)]
    no_floor: bool,
    /// A further argument for `formledger serve`, may be repeated.
    #[arg(long = "serve-argument", allow_hyphen_values = true)]
    serve_arguments: Vec<String>,
    /// Connections of each set of rounds.
    #[arg(long, value_delimiter = ',', default_value = "64,1200")]
    connections: Vec<usize>,
    /// Rounds at each number of connections.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds measured in each round.
    #[arg(long, default_value_t = 10.0)]
    duration: f64,
    /// Seconds before each measurement.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Contestants are started once and rest while others run: many short rounds follow each other closer than the machine changes. They keep what earlier rounds
    /// sent them.
    #[arg(long)]
    stay: bool,
    /// Where contestants keep their data while they run; should be a real disk [default: the temporary folder].
    #[arg(long)]
    data_root: Option<PathBuf>,
    /// Write every round and the medians as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl CompareArguments {
    fn plan(&self) -> Result<ComparePlan> {
        let contestants = self.contestants()?;
        ensure!(!contestants.is_empty(), "nobody takes part: give `--formledger`, `--stock` or `--go`");
        ensure!(self.tenants > 0, "`--tenants 0` leaves nobody to submit");
        ensure!(
            self.rounds > 0 && !self.connections.is_empty(),
            "without rounds there is nothing to compare"
        );
        Ok(ComparePlan {
            contestants,
            connections: self.connections.clone(),
            rounds: self.rounds,
            warmup: seconds(self.warmup)?,
            duration: seconds(self.duration)?,
            data_root: self.data_root.clone().unwrap_or_else(std::env::temp_dir),
        })
    }

    fn contestants(&self) -> Result<Vec<Contestant>> {
        let mut contestants = Vec::new();
        for storage in self.formledger.iter().flat_map(|_| &self.storage) {
            match storage {
                Storage::Embedded => {
                    contestants.extend(self.formledger("formledger", Storage::Embedded, &[]));
                    let single = ["--append-batch-max", "1"];
                    contestants.extend(self.formledger(
                        "one transaction per command",
                        Storage::Embedded,
                        &single,
                    ));
                }
                Storage::Postgres => {
                    contestants.extend(self.formledger("formledger on Postgres", Storage::Postgres, &[]))
                }
            }
        }
        if let (Some((tenants, recorded)), Some(first)) = (self.grown, contestants.first()) {
            let (name, kind) = (format!("{}, grown", first.name), Kind::Formledger { tenants });
            contestants.push(Contestant { name, kind, recorded, stays: true, ..first.clone() });
        }
        if let Some(program) = &self.stock {
            let stock = Contestant::bare("stock cqrs-es on Postgres", program);
            contestants.push(Contestant { storage: Storage::Postgres, ..stock });
        }
        if let Some(program) = &self.go {
            contestants.push(Contestant::bare("Go, in memory", program));
        }
        if !self.no_floor {
            contestants.push(noise_floor()?);
        }
        for contestant in &mut contestants {
            contestant.stays |= self.stay;
        }
        Ok(contestants)
    }

    fn formledger(&self, name: &str, storage: Storage, more: &[&str]) -> Option<Contestant> {
        let mut arguments = vec!["serve".to_owned()];
        arguments.extend(self.serve_arguments.iter().cloned());
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let program = self.formledger.clone()?;
        let kind = Kind::Formledger { tenants: self.tenants };
        let (name, recorded) = (name.into(), self.recorded);
        Some(Contestant { name, program, arguments, kind, storage, recorded, stays: false })
    }
}

fn tenants_and_submissions(text: &str) -> Result<(usize, u64)> {
    let (tenants, submissions) = text.split_once(':').context("write it as `TENANTS:SUBMISSIONS`")?;
    let tenants: usize = tenants.parse().with_context(|| format!("`{tenants}` is no number of tenants"))?;
    ensure!(tenants > 0, "no tenants leave nobody to submit");
    let submissions =
        submissions.parse().with_context(|| format!("`{submissions}` is no number of submissions"))?;
    Ok((tenants, submissions))
}

fn noise_floor() -> Result<Contestant> {
    let program = std::env::current_exe().context("where this program is")?;
    let floor = Contestant::bare("noise floor", &program);
    Ok(Contestant { arguments: vec!["floor".to_owned()], ..floor })
}

/// Runs the comparison and prints its table.
///
/// # Errors
/// A contestant does not start or dies.
pub fn compare(arguments: CompareArguments) -> Result<ExitCode> {
    let comparison = compare::run(&arguments.plan()?)?;
    println!("{comparison}");
    if let Some(path) = &arguments.json {
        let report = serde_json::json!({ "machine": Machine::here(), "comparison": comparison });
        write_text(path, &serde_json::to_string_pretty(&report)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `figures`: the comparison plus the open loop.
#[derive(Debug, Args)]
pub struct FiguresArguments {
    #[command(flatten)]
    compare: CompareArguments,
    /// Arrivals a second in open loop.
    #[arg(long, default_value_t = 8_600)]
    rate: u64,
    /// Connections in open loop.
    #[arg(long, default_value_t = 256)]
    open_connections: usize,
    /// Fail unless p99.9 in open loop stays within this many milliseconds.
    #[arg(long)]
    p999_max_ms: Option<f64>,
    /// Folder for `figures.json`, `figures.md` and the samples.
    #[arg(long, default_value = "target/bench-results")]
    out: PathBuf,
}

/// Runs everything and writes the results.
///
/// # Errors
/// A contestant does not start, or a bound failed.
pub fn figures(arguments: FiguresArguments) -> Result<ExitCode> {
    let compare = arguments.compare.plan()?;
    let mut open: Vec<Contestant> = compare.contestants.first().cloned().into_iter().collect();
    open.push(noise_floor()?);
    figures::run(&FiguresPlan {
        compare,
        open,
        rate_per_second: arguments.rate,
        open_connections: arguments.open_connections,
        p99_9_max: arguments.p999_max_ms.map(milliseconds).transpose()?,
        out: arguments.out,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `floor`: where the bare server listens.
#[derive(Debug, Args)]
pub struct FloorArguments {
    /// Address; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
}

/// Serves the noise floor until ended.
///
/// # Errors
/// The address cannot be bound.
pub fn floor(arguments: FloorArguments) -> Result<ExitCode> {
    floor::serve(&arguments.listen)?;
    Ok(ExitCode::SUCCESS)
}

fn host_of(url: &str) -> Result<(&str, SocketAddr)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("`{url}` does not start with http://"))?;
    let host = rest.trim_end_matches('/');
    ensure!(!host.contains('/'), "`--url` is `http://HOST:PORT`; the path goes into `--path`");
    let mut addresses = host.to_socket_addrs().with_context(|| format!("`{host}` is not HOST:PORT"))?;
    Ok((host, addresses.next().with_context(|| format!("`{host}` has no address"))?))
}

fn name_and_value(header: &str) -> Result<(String, String)> {
    let (name, value) = header.split_once(':').with_context(|| format!("`{header}` is not `Name: value`"))?;
    Ok((name.trim().into(), value.trim().into()))
}

fn seconds(seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).with_context(|| format!("{seconds} is not a number of seconds"))
}

fn milliseconds(milliseconds: f64) -> Result<Duration> {
    seconds(milliseconds / 1_000.0)
}

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Compare {
        #[command(flatten)]
        arguments: CompareArguments,
    }

    fn staying(more: &[&str]) -> Vec<(String, bool)> {
        let arguments = ["compare", "--formledger", "f", "--go", "g", "--grown", "20:30"];
        let compare = Compare::try_parse_from(arguments.iter().chain(more)).unwrap();
        let contestants = compare.arguments.contestants().unwrap();
        contestants.into_iter().map(|contestant| (contestant.name, contestant.stays)).collect()
    }

    #[test]
    fn contestants_start_anew_in_each_round_unless_they_are_to_stay() {
        let anew = staying(&[]);
        assert_eq!(anew.len(), 5);
        for (name, stays) in anew {
            assert_eq!(stays, name.ends_with(", grown"), "{name}");
        }
        assert!(staying(&["--stay"]).into_iter().all(|(_, stays)| stays));
    }
}
