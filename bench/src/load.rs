//! Runs one load: opens the connections, lets the pacer decide when each sends, and keeps what came of every request.
//!
//! Called by `cli`, `compare` and `figures`. One thread, one task a connection, samples kept by their own connection and put
//! together after the run: nothing is shared or written on the hot path except the turn counter.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use crate::connection::{Answer, Connection};
use crate::cores::{CoreProbe, CoresDelivered};
use crate::machine;
use crate::pacer::{Length, Pacer, Turn};
use crate::process_cpu::ProcessCpu;
use crate::request::RequestTemplate;
use crate::sample::{NO_ANSWER, Sample};
use crate::schedule::Schedule;
use crate::template::Random;

/// Connections opened at the same time before a run: well under every server's accept backlog.
const CONNECTING_MAX: usize = 64;
/// A connection that cannot be opened again waits this long, so that a dead server does not cost a spinning generator.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);
/// A closed loop over a number of requests has no end in time; it is given up after this.
const RUN_MAX: Duration = Duration::from_secs(3_600);

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// By a fixed schedule, whatever the server does.
    Open(Schedule),
    /// Each connection after its last answer.
    Closed,
}

/// Everything about a run.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// Where the server listens.
    pub target: SocketAddr,
    /// What to send.
    pub request: RequestTemplate,
    /// Open or closed loop.
    pub pace: Pace,
    /// How many connections are held open.
    pub connections: usize,
    /// Time before anything is measured.
    pub warmup: Duration,
    /// How much is measured.
    pub length: Length,
    /// How long answers may still arrive after the last request was due.
    pub grace: Duration,
    /// The server's process, for its CPU time.
    pub server_pid: Option<u32>,
    /// Its database's first process, where that is another, for its CPU time.
    pub database_pid: Option<u32>,
}

/// What came of a run.
#[derive(Debug)]
pub struct LoadRun {
    /// One for each measured request, in intended order.
    pub samples: Vec<Sample>,
    /// From the end of warm-up to the last answer.
    pub measured_for: Duration,
    /// Answers that arrived in that time (those to the last warm-up requests too): what rates and costs divide by.
    pub answered: u64,
    /// What the server cost in that time.
    pub server_cpu: Option<ProcessCpu>,
    /// What its database cost in that time: all its processes, also those that ended.
    pub database_cpu: Option<ProcessCpu>,
    /// What this generator cost in that time, without the core probe.
    pub generator_cpu: ProcessCpu,
    /// What the machine gave in that time.
    pub cores: CoresDelivered,
    /// Why the first request without an answer had none.
    pub first_error: Option<String>,
}

/// Runs `plan` to its end on this thread.
///
/// # Errors
/// The server cannot be reached or found, or the machine's limits are too low. Requests that fail are samples, not errors.
pub fn run(plan: LoadPlan) -> Result<LoadRun> {
    ensure!(plan.connections > 0, "a run needs at least one connection");
    machine::raise_open_files(plan.connections)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(Arc::new(plan)))
}

async fn measure(plan: Arc<LoadPlan>) -> Result<LoadRun> {
    let connections = connect_all(plan.target, plan.connections).await?;
    let pacer = Arc::new(pacer(&plan));
    let give_up = pacer.end().map_or(pacer.origin() + RUN_MAX, |end| end + plan.grace);
    let mut workers = JoinSet::new();
    for connection in connections {
        workers.spawn(Worker::new(&plan, &pacer, connection).run(give_up));
    }
    let releasing = tokio::spawn({
        let (pacer, connections) = (Arc::clone(&pacer), plan.connections);
        async move { pacer.release(connections).await }
    });

    tokio::time::sleep_until(pacer.origin().into()).await;
    let before = Costs::now(&plan)?;
    let probe = CoreProbe::start()?;
    let workers = workers.join_all().await;
    let measured_for = pacer.origin().elapsed();
    let cores = probe.finish();
    let after = Costs::now(&plan)?;
    releasing.await??;

    let mut generator_cpu = after.generator - before.generator;
    generator_cpu.user_us = generator_cpu.user_us.saturating_sub(cores.probe_cpu_us);
    let between = |after: Option<ProcessCpu>, before| after.zip(before).map(|(after, before)| after - before);
    let server_cpu = between(after.server, before.server);
    let database_cpu = between(after.database, before.database);
    let answered = workers.iter().map(|worker| worker.answered).sum();
    let first_error = workers.iter().find_map(|worker| worker.first_error.clone());
    let samples = in_order(workers, &pacer);
    Ok(LoadRun {
        samples,
        measured_for,
        answered,
        server_cpu,
        database_cpu,
        generator_cpu,
        cores,
        first_error,
    })
}

fn pacer(plan: &LoadPlan) -> Pacer {
    let start = Instant::now();
    match plan.pace {
        Pace::Open(schedule) => Pacer::open(schedule, start, plan.warmup, plan.length),
        Pace::Closed => Pacer::closed(start, plan.warmup, plan.length),
    }
}

async fn connect_all(target: SocketAddr, count: usize) -> Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    while connections.len() < count {
        let mut opening = JoinSet::new();
        for _ in 0..CONNECTING_MAX.min(count - connections.len()) {
            opening.spawn(Connection::open(target));
        }
        for opened in opening.join_all().await {
            connections.push(opened.with_context(|| format!("connecting to {target}"))?);
        }
    }
    Ok(connections)
}

/// Puts the connections' samples together with the turns that no connection ever took.
fn in_order(workers: Vec<Worker>, pacer: &Pacer) -> Vec<Sample> {
    let now = Instant::now();
    let untaken = pacer.untaken().filter(|turn| turn.measured && turn.intended <= now);
    let mut samples: Vec<Sample> =
        untaken.map(|turn| sample(&turn, now, now, NO_ANSWER, 0, pacer.origin())).collect();
    samples.extend(workers.into_iter().flat_map(|worker| worker.samples));
    samples.sort_unstable_by_key(|sample| (sample.intended_us, sample.start_us));
    samples
}

struct Costs {
    server: Option<ProcessCpu>,
    database: Option<ProcessCpu>,
    generator: ProcessCpu,
}

impl Costs {
    fn now(plan: &LoadPlan) -> Result<Self> {
        Ok(Self {
            server: plan.server_pid.map(ProcessCpu::of_tree).transpose()?,
            database: plan.database_pid.map(ProcessCpu::of_tree).transpose()?,
            generator: ProcessCpu::of_self()?,
        })
    }
}

/// One connection's life: takes turns, sends, records.
struct Worker {
    plan: Arc<LoadPlan>,
    pacer: Arc<Pacer>,
    connection: Option<Connection>,
    random: Random,
    request: Vec<u8>,
    scratch: Vec<u8>,
    in_flight: Option<(Turn, Instant)>,
    samples: Vec<Sample>,
    answered: u64,
    first_error: Option<String>,
}

impl Worker {
    fn new(plan: &Arc<LoadPlan>, pacer: &Arc<Pacer>, connection: Connection) -> Self {
        Self {
            plan: Arc::clone(plan),
            pacer: Arc::clone(pacer),
            connection: Some(connection),
            random: Random::from_entropy(),
            request: Vec::new(),
            scratch: Vec::new(),
            in_flight: None,
            samples: Vec::new(),
            answered: 0,
            first_error: None,
        }
    }

    async fn run(mut self, give_up: Instant) -> Self {
        let finished = tokio::time::timeout_at(give_up.into(), self.take_turns()).await;
        if let (Err(_), Some((turn, start))) = (finished, self.in_flight) {
            self.first_error.get_or_insert_with(|| "no answer before the run was given up".to_owned());
            self.record(turn, start, NO_ANSWER, 0);
        }
        self
    }

    async fn take_turns(&mut self) {
        while let Some(turn) = self.pacer.next().await {
            let start = Instant::now();
            self.in_flight = Some((turn, start));
            match self.exchange(turn.sequence).await {
                Ok(answer) => self.record(turn, start, answer.status, answer.bytes),
                Err(error) => self.failed(turn, start, &error).await,
            }
        }
    }

    async fn exchange(&mut self, sequence: u64) -> std::io::Result<Answer> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            lost => lost.insert(Connection::open(self.plan.target).await?),
        };
        self.plan.request.render(sequence, &mut self.random, &mut self.request, &mut self.scratch);
        let answer = connection.exchange(&self.request).await?;
        if answer.close {
            self.connection = None;
        }
        Ok(answer)
    }

    async fn failed(&mut self, turn: Turn, start: Instant, error: &std::io::Error) {
        self.record(turn, start, NO_ANSWER, 0);
        self.first_error.get_or_insert_with(|| error.to_string());
        self.connection = None;
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }

    fn record(&mut self, turn: Turn, start: Instant, status: u16, bytes: usize) {
        let now = Instant::now();
        self.in_flight = None;
        let origin = self.pacer.origin();
        if status != NO_ANSWER && now >= origin {
            self.answered += 1;
        }
        if turn.measured {
            self.samples.push(sample(&turn, start, now, status, bytes, origin));
        }
    }
}

fn sample(turn: &Turn, start: Instant, end: Instant, status: u16, bytes: usize, origin: Instant) -> Sample {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    Sample {
        intended_us: micros(turn.intended.saturating_duration_since(origin)),
        start_us: micros(start.saturating_duration_since(origin)),
        latency_us: micros(end.saturating_duration_since(turn.intended)),
        status,
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
    }
}
