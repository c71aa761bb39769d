//! A run's figures as one structure, as text for people and as JSON for scripts.
//!
//! `load` prints one; `compare` keeps one for each round. Figures are computed here once and only printed elsewhere.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::cores::CoresDelivered;
use crate::load::LoadRun;
use crate::percentile::Latencies;
use crate::process_cpu::ProcessCpu;

/// The summary of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Requests measured, answered or not.
    pub requests: usize,
    /// From the end of warm-up to the last answer.
    pub seconds: f64,
    /// Answers a second in that time.
    pub rate_per_second: f64,
    /// From intended start to last byte.
    pub latencies: Latencies,
    /// Requests by status; 0 is no answer.
    pub by_status: BTreeMap<u16, usize>,
    /// What the server spent on each answer, if its process was named.
    pub server_cpu: Option<CpuPerRequest>,
    /// What its database spent on each answer, where that is a process of its own.
    pub database_cpu: Option<CpuPerRequest>,
    /// What the generator spent on each answer.
    pub generator_cpu: CpuPerRequest,
    /// What the machine gave.
    pub cores: CoresDelivered,
    /// Why the first unanswered request had no answer.
    pub first_error: Option<String>,
}

/// Microseconds for each answered request.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CpuPerRequest {
    /// User and system together.
    pub total_us: f64,
    /// In its own code.
    pub user_us: f64,
    /// In the kernel.
    pub system_us: f64,
    /// Ready, but waiting for a core.
    pub queued_us: f64,
}

impl Summary {
    /// Computes the figures of `run`.
    pub fn of(run: &LoadRun) -> Self {
        let mut by_status = BTreeMap::new();
        for sample in &run.samples {
            *by_status.entry(sample.status).or_default() += 1;
        }
        let per_request = |cpu: ProcessCpu| CpuPerRequest::of(cpu, run.answered);
        Self {
            requests: run.samples.len(),
            seconds: run.measured_for.as_secs_f64(),
            rate_per_second: run.answered as f64 / run.measured_for.as_secs_f64(),
            latencies: Latencies::of(run.samples.iter().map(|sample| sample.latency_us).collect()),
            by_status,
            server_cpu: run.server_cpu.map(per_request),
            database_cpu: run.database_cpu.map(per_request),
            generator_cpu: per_request(run.generator_cpu),
            cores: run.cores,
            first_error: run.first_error.clone(),
        }
    }

    /// How many requests did not get `status`.
    pub fn others_than(&self, status: u16) -> usize {
        self.requests - self.by_status.get(&status).copied().unwrap_or(0)
    }
}

impl CpuPerRequest {
    fn of(cpu: ProcessCpu, requests: u64) -> Self {
        let each = |micros: u64| micros as f64 / requests.max(1) as f64;
        Self {
            total_us: each(cpu.busy_us()),
            user_us: each(cpu.user_us),
            system_us: each(cpu.system_us),
            queued_us: each(cpu.queued_us),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, seconds, rate_per_second, latencies, cores, .. } = self;
        writeln!(formatter, "requests   {requests} in {seconds:.2} s, {rate_per_second:.0}/s answered")?;
        let milliseconds = |micros: u64| micros as f64 / 1_000.0;
        writeln!(
            formatter,
            "latency    p50 {:.3}  p90 {:.3}  p99 {:.3}  p99.9 {:.3}  max {:.3} ms",
            milliseconds(latencies.p50_us),
            milliseconds(latencies.p90_us),
            milliseconds(latencies.p99_us),
            milliseconds(latencies.p99_9_us),
            milliseconds(latencies.max_us)
        )?;
        write!(formatter, "status    ")?;
        for (status, count) in &self.by_status {
            match status {
                0 => write!(formatter, " no answer: {count}")?,
                status => write!(formatter, " {status}: {count}")?,
            }
        }
        writeln!(formatter)?;
        if let Some(error) = &self.first_error {
            writeln!(formatter, "error      {error}")?;
        }
        if let Some(cpu) = &self.server_cpu {
            writeln!(formatter, "server     {cpu}")?;
        }
        if let Some(cpu) = &self.database_cpu {
            writeln!(formatter, "database   {cpu}")?;
        }
        writeln!(formatter, "generator  {}", self.generator_cpu)?;
        write!(
            formatter,
            "cores      {:.2} of {} delivered (speed {:.2} by pinned probes, steal {:.2})",
            cores.delivered, cores.cores, cores.speed, cores.steal
        )
    }
}

impl fmt::Display for CpuPerRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total_us, user_us, system_us, queued_us } = self;
        write!(formatter, "{total_us:.1} us CPU a request ({user_us:.1} user, {system_us:.1} system")?;
        write!(formatter, "; {queued_us:.1} waiting for a core)")
    }
}
