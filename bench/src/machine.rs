//! The machine under a benchmark: what to print beside every figure, and the limits a run needs raised.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use crate::percentile::Latencies;

/// Descriptors beside the connections: standard streams, the event loop, the timer, a samples file, `/proc`.
const OTHER_FILES: u64 = 64;

/// Without this a figure cannot be compared with another.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// CPU model.
    pub cpu: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Main memory in GiB.
    pub memory_gib: f64,
    /// Kernel release.
    pub kernel: String,
}

impl Machine {
    /// Reads `/proc`; what cannot be read is `unknown` or 0.
    pub fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = value_of(&cpuinfo, "model name").unwrap_or("unknown").to_owned();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory_kib =
            value_of(&meminfo, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".into());
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        Self {
            cpu,
            cores,
            memory_gib: memory_kib.unwrap_or(0.0) / (1024.0 * 1024.0),
            kernel: kernel.trim().into(),
        }
    }
}

fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim())
}

/// Raises the soft limit on open files so that `connections` fit; children inherit it.
///
/// # Errors
/// The hard limit is below that.
pub fn raise_open_files(connections: usize) -> Result<()> {
    let needed = connections as u64 + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let allowed = limit.maximum.is_none_or(|maximum| maximum >= needed);
    ensure!(
        allowed,
        "{connections} connections need {needed} open files; the hard limit is {:?}",
        limit.maximum
    );
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("RLIMIT_NOFILE")
}

/// What making 4 KiB durable costs in `folder`: the floor under one transaction, and under one batch.
///
/// # Errors
/// The folder cannot be written.
pub fn durable_write(folder: &Path) -> Result<Latencies> {
    const WRITES: usize = 200;
    let mut file = tempfile::tempfile_in(folder).context("a file for the fdatasync probe")?;
    let mut latencies_us = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let start = Instant::now();
        file.write_all(&[1; 4096])?;
        file.sync_data()?;
        latencies_us.push(start.elapsed().as_micros() as u64);
    }
    Ok(Latencies::of(latencies_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_key() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other\n";
        assert_eq!(value_of(text, "model name"), Some("AMD EPYC"));
        assert_eq!(value_of(text, "nothing"), None);
    }

    #[test]
    fn the_limit_on_open_files_rises_to_what_is_allowed() {
        raise_open_files(100).unwrap();
        assert!(getrlimit(Resource::Nofile).current.is_none_or(|current| current >= 100));
    }

    #[test]
    fn durable_writes_take_time() {
        assert!(durable_write(&std::env::temp_dir()).unwrap().max_us > 0);
    }
}
