//! A server under comparison: how to start it on a port of its own, make it ready for submissions, and end it.
//!
//! `compare` and `figures` start one at a time, each with fresh data in a temporary folder, so that no contestant runs
//! beside another or pays for an earlier round's history, but for those that stay ([`Contestant::stays`]); `requests` starts all and asks one at a time. Only processes started here are ever ended here.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::connection::Connection;
use crate::database::Database;
use crate::load::{self, LoadPlan, LoadRun, Pace};
use crate::pacer::Length;
use crate::process_cpu::ProcessCpu;
use crate::report::Summary;
use crate::request::RequestTemplate;
use crate::template::{Random, Template};
use crate::token;

/// The line that every contestant prints once it accepts connections.
const READY_LINE: &str = "listening on http://";
/// A server that is not ready by then is broken.
const READY_MAX: Duration = Duration::from_secs(60);
/// After a polite request to stop, a server is killed.
const STOP_MAX: Duration = Duration::from_secs(20);
/// How long answers may still arrive after the last request of a closed loop.
const GRACE: Duration = Duration::from_secs(30);
/// Connections over which submissions are recorded before a measurement.
const RECORDING_CONNECTIONS: usize = 1_200;
/// How long a server may go on with what it put off (read models) before the next round starts anyway.
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// How often settling is looked at, and how much CPU in such a step still counts as rest.
const SETTLE_STEP: Duration = Duration::from_millis(500);
const SETTLED_CPU_US: u64 = 20_000;

/// The form of the comparison: 25 fields, 3 rules.
const FORM: &str = include_str!("../data/form.json");
/// A submission to it, 1 KB, with placeholders.
const SUBMISSION: &str = include_str!("../data/submission.json");
const FORM_PATH: &str = "/v1/forms/benchmark";
/// Further ones are `benchmark-1`, `benchmark-2`, …
const TENANT: &str = "benchmark";

/// The status that every contestant has to answer to a submission.
pub const CREATED: u16 = 201;

/// A program that can be started.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// How tables name it.
    pub name: String,
    /// Path of the program.
    pub program: PathBuf,
    /// Its arguments, in front of those that `kind` adds.
    pub arguments: Vec<String>,
    /// What it needs to be ready.
    pub kind: Kind,
    /// Where it keeps what it is sent.
    pub storage: Storage,
    /// Submissions that it has taken before anything is measured, as with every one later.
    pub recorded: u64,
    /// Whether a comparison goes on with it in the next round: recording much again, or warming up again, would take longer than the machine stays the same.
    pub stays: bool,
}

/// What a contestant needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Formledger: data folder, secret, and for each tenant a token and the published form.
    Formledger {
        /// That submissions are spread over, evenly by chance.
        tenants: usize,
    },
    /// Anything that takes `--listen` and answers every POST.
    Bare,
}

/// Where a contestant keeps what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Storage {
    /// In itself: memory, or files in its data folder.
    Embedded,
    /// In a database of a Postgres server of its own, named by `--database-url`.
    Postgres,
}

/// A started contestant. Dropping it stops the process and deletes its data.
#[derive(Debug)]
pub struct Running {
    child: Child,
    target: SocketAddr,
    headers: Vec<(String, String)>,
    // The process is stopped in `drop`, before its database and its files go.
    database: Option<Database>,
    _data: TempDir,
}

impl Contestant {
    /// A program that needs nothing and keeps nothing.
    pub fn bare(name: &str, program: &Path) -> Self {
        let (name, program) = (name.to_owned(), program.to_owned());
        Self {
            name,
            program,
            arguments: Vec::new(),
            kind: Kind::Bare,
            storage: Storage::Embedded,
            recorded: 0,
            stays: false,
        }
    }

    /// Starts it with fresh data under `data_root` and waits until it takes submissions.
    ///
    /// # Errors
    /// It does not start, does not say where it listens, or refuses the form; the message holds its last words.
    pub fn start(&self, data_root: &Path) -> Result<Running> {
        let data = TempDir::new_in(data_root).context("a folder for the contestant's data")?;
        let secret = secret();
        let errors = data.path().join("stderr.log");
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(["--listen", "127.0.0.1:0"]);
        let database = match self.storage {
            Storage::Embedded => None,
            Storage::Postgres => Some(Database::start()?),
        };
        if let Some(database) = &database {
            command.args(["--database-url", database.url()]);
        }
        if let Kind::Formledger { .. } = self.kind {
            command.arg("--data").arg(data.path().join("ledger")).args(["--jwt-secret", &secret]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors)?)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let mut running =
            Running { child, target: ([127, 0, 0, 1], 0).into(), headers: Vec::new(), database, _data: data };
        self.make_ready(&mut running, &secret)
            .with_context(|| format!("{} said:\n{}", self.name, last_words(&errors)))?;
        Ok(running)
    }

    fn make_ready(&self, running: &mut Running, secret: &str) -> Result<()> {
        running.target = running.listening_on()?;
        if let Kind::Formledger { tenants } = self.kind {
            let tokens: Vec<String> =
                tenant_names(tenants).map(|tenant| token::mint(secret, &tenant)).collect::<Result<_>>()?;
            for token in &tokens {
                running.headers = vec![authorization(token)];
                running.once("PUT", FORM_PATH, Some(FORM), 200)?;
                running.once("POST", &format!("{FORM_PATH}/publish"), None, 201)?;
            }
            running.headers = vec![authorization(&format!("{{{{pick:{}}}}}", tokens.join("|")))];
        }
        Ok(())
    }
}

fn tenant_names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| if n == 0 { TENANT.to_owned() } else { format!("{TENANT}-{n}") })
}

fn authorization(token: &str) -> (String, String) {
    ("Authorization".into(), format!("Bearer {token}"))
}

impl Running {
    /// Where it listens.
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first process of its database, if it has one.
    pub fn database_pid(&self) -> Option<u32> {
        self.database.as_ref().map(Database::pid)
    }

    /// CPU so far, its database's included.
    fn cpu(&self) -> Result<ProcessCpu> {
        let (own, database) = self.cpu_of_each()?;
        Ok(database.map_or(own, |database| own + database))
    }

    /// CPU so far: its own, and its database's where that is another process.
    ///
    /// # Errors
    /// The process is gone.
    pub fn cpu_of_each(&self) -> Result<(ProcessCpu, Option<ProcessCpu>)> {
        let database = self.database_pid().map(ProcessCpu::of_tree).transpose()?;
        Ok((ProcessCpu::of_tree(self.pid())?, database))
    }

    /// What the load sends it: a different submission every time.
    ///
    /// # Errors
    /// The built-in submission has a bad placeholder.
    pub fn submission(&self) -> Result<RequestTemplate> {
        self.request("POST", &format!("{FORM_PATH}/submissions"), Some(SUBMISSION))
    }

    /// Sends `request` over each of so many connections as soon as its answer is there.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn closed_loop(
        &self,
        request: RequestTemplate,
        connections: usize,
        warmup: Duration,
        length: Length,
    ) -> Result<LoadRun> {
        load::run(LoadPlan {
            target: self.target,
            request,
            pace: Pace::Closed,
            connections,
            warmup,
            length,
            grace: GRACE,
            server_pid: Some(self.pid()),
            database_pid: self.database_pid(),
        })
    }

    /// Sends submissions that are to be there before something is measured.
    ///
    /// # Errors
    /// It cannot be reached, or refuses one.
    pub fn record(&self, request: RequestTemplate, submissions: u64) -> Result<()> {
        if submissions == 0 {
            return Ok(());
        }
        let began = Instant::now();
        let run =
            self.closed_loop(request, RECORDING_CONNECTIONS, Duration::ZERO, Length::Requests(submissions))?;
        let summary = Summary::of(&run);
        ensure!(summary.others_than(CREATED) == 0, "submissions were answered {:?}", summary.by_status);
        eprintln!("-- {submissions} submissions recorded in {:.0} s", began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits until it has done what it put off while answering (read models follow the ledger), and says what that cost.
    ///
    /// # Errors
    /// The process is gone.
    pub fn settle(&self) -> Result<ProcessCpu> {
        let start = Instant::now();
        let before = self.cpu()?;
        let mut last = before;
        loop {
            std::thread::sleep(SETTLE_STEP);
            let now = self.cpu()?;
            if (now - last).busy_us() <= SETTLED_CPU_US || start.elapsed() > SETTLE_MAX {
                return Ok(now - before);
            }
            last = now;
        }
    }

    /// Reads its output up to the line that says where it listens; the rest is drained so that it never blocks on it.
    fn listening_on(&mut self) -> Result<SocketAddr> {
        let output = self.child.stdout.take().context("its output was taken twice")?;
        let (found, finding) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once(READY_LINE) {
                    // Nobody waits any more after READY_MAX; draining goes on.
                    let _late = found.send(address.trim_end_matches('/').to_owned());
                }
            }
        });
        let address = finding.recv_timeout(READY_MAX).with_context(|| format!("no line `{READY_LINE}…`"))?;
        address.parse().with_context(|| format!("`{address}` is not an address"))
    }

    /// A request with this contestant's credentials.
    ///
    /// # Errors
    /// A bad placeholder.
    pub fn request(&self, method: &str, path: &str, body: Option<&str>) -> Result<RequestTemplate> {
        RequestTemplate::new(method, path, &self.target.to_string(), &self.headers, body)
    }

    /// Sends one request on a connection of its own, insists on the status and answers the body's bytes.
    ///
    /// # Errors
    /// Another status, with the body that came with it.
    pub fn once(&self, method: &str, path: &str, body: Option<&str>, expected: u16) -> Result<Vec<u8>> {
        let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
        let request = self.request(method, path, body)?;
        request.render(0, &mut Random::from_entropy(), &mut bytes, &mut scratch);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut connection = Connection::open(self.target).await?;
            let answer = connection.exchange(&bytes).await?;
            if answer.status != expected {
                let body = String::from_utf8_lossy(connection.body());
                bail!("{method} {path} answered {} instead of {expected}: {body}", answer.status);
            }
            Ok(connection.body().to_vec())
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // Fails only when it has ended by itself, which is what is wanted.
            let _gone = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::TERM));
        }
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < STOP_MAX {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Both fail only when it has ended.
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn secret() -> String {
    let template = Template::parse("{{uuid}}{{uuid}}").expect("the placeholders are known");
    let mut secret = Vec::new();
    template.expand(0, &mut Random::from_entropy(), &mut secret);
    String::from_utf8(secret).expect("uuids are ASCII")
}

fn last_words(log: &Path) -> String {
    const LINES: usize = 20;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;

    fn leaves(schema: &Value) -> usize {
        match schema["properties"].as_object() {
            Some(properties) => properties.values().map(leaves).sum(),
            None => 1,
        }
    }

    fn submission(sequence: u64) -> Vec<u8> {
        let mut body = Vec::new();
        Template::parse(SUBMISSION).unwrap().expand(sequence, &mut Random::from_seed(sequence), &mut body);
        body
    }

    #[test]
    fn the_form_has_25_fields_and_3_rules() {
        let form: Value = serde_json::from_str(FORM).unwrap();
        assert_eq!(leaves(&form["schema"]), 25);
        assert_eq!(form["rules"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_submission_is_one_kilobyte_fills_every_field_and_is_never_the_same() {
        let form: Value = serde_json::from_str(FORM).unwrap();
        let mut seen = HashSet::new();
        for sequence in 0..200 {
            let body = submission(sequence);
            assert!((950..=1_100).contains(&body.len()), "{} bytes", body.len());
            let value: Value = serde_json::from_slice(&body).unwrap();
            for field in form["schema"]["properties"].as_object().unwrap().keys() {
                assert!(value["data"].get(field).is_some(), "`{field}` is missing");
            }
            assert!(seen.insert(body));
        }
    }

    #[test]
    fn a_program_that_never_listens_is_reported_with_its_last_words() {
        let contestant = Contestant {
            name: "broken".into(),
            program: "sh".into(),
            arguments: vec!["-c".into(), "echo out of order >&2".into(), "ignored".into()],
            kind: Kind::Bare,
            storage: Storage::Embedded,
            recorded: 0,
            stays: false,
        };
        let error = format!("{:#}", contestant.start(&std::env::temp_dir()).unwrap_err());
        assert!(error.contains("out of order"), "{error}");
    }
}
