//! How much of its cores a shared machine really gave while a run went on.
//!
//! A hypervisor that lends a core elsewhere may not say so in `/proc/stat`: the guest then charges the missing time to
//! whoever was running, and CPU per request looks dearer than it was. So one thread pinned to each core does a small,
//! fixed piece of work now and then, and reads how much CPU time the guest charged it. In an undisturbed moment a piece
//! costs its best price; on average it costs more by exactly what was taken away in between.
//!
//! delivered = cores x (best price / mean price) - reported steal. The pieces take about 1 % of each core.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Steps of one piece of work: roughly 200 microseconds, long enough to be measured, short enough to be undisturbed often.
const PIECE_STEPS: u64 = 80_000;
/// Pause between two pieces on one core.
const PIECE_PAUSE: Duration = Duration::from_millis(20);
/// Pieces done at once when a probe starts, so that even a short run knows a best price.
const CALIBRATION_PIECES: u32 = 20;

/// The best price of a piece seen by this process, in nanoseconds: shared by all rounds, so that they compare.
static BEST_PIECE_NS: AtomicU64 = AtomicU64::new(u64::MAX);

/// What a machine gave during a run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CoresDelivered {
    /// Cores this process may use.
    pub cores: usize,
    /// Best over mean price of a piece of work, averaged over the cores: 1.0 is an undisturbed machine.
    pub speed: f64,
    /// Cores' worth of time that the hypervisor admits to have taken.
    pub steal: f64,
    /// `cores * speed - steal`.
    pub delivered: f64,
    /// CPU time of the probe itself, to be taken off the generator's.
    #[serde(skip)]
    pub probe_cpu_us: u64,
}

/// A running probe.
#[derive(Debug)]
pub struct CoreProbe {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Tally>>,
    started: Instant,
    steal_before_us: u64,
}

#[derive(Debug, Default)]
struct Tally {
    pieces: u64,
    cpu_ns: u64,
    calibration_ns: u64,
}

impl CoreProbe {
    /// Starts one thread on each core.
    ///
    /// # Errors
    /// The cores cannot be told apart, or a thread cannot start.
    pub fn start() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("sched_getaffinity")?;
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..CpuSet::MAX_CPU)
            .filter(|core| allowed.is_set(*core))
            .map(|core| {
                let stop = Arc::clone(&stop);
                std::thread::Builder::new().name("core-probe".into()).spawn(move || probe(core, &stop))
            })
            .collect::<std::io::Result<_>>()
            .context("starting a probe thread")?;
        Ok(Self { stop, threads, started: Instant::now(), steal_before_us: steal_us() })
    }

    /// Stops the threads and says what they saw.
    pub fn finish(self) -> CoresDelivered {
        self.stop.store(true, Ordering::Relaxed);
        let steal = (steal_us() - self.steal_before_us) as f64 / self.started.elapsed().as_micros() as f64;
        let cores = self.threads.len();
        let tallies: Vec<Tally> = self
            .threads
            .into_iter()
            .map(|thread| thread.join().expect("a probe thread never panics"))
            .collect();
        let best_ns = BEST_PIECE_NS.load(Ordering::Relaxed) as f64;
        let speed_of = |tally: &Tally| match tally.pieces {
            0 => 1.0,
            pieces => best_ns * pieces as f64 / tally.cpu_ns as f64,
        };
        let speed = tallies.iter().map(speed_of).sum::<f64>() / cores as f64;
        let probe_cpu_us =
            tallies.iter().map(|tally| tally.cpu_ns + tally.calibration_ns).sum::<u64>() / 1_000;
        CoresDelivered { cores, speed, steal, delivered: cores as f64 * speed - steal, probe_cpu_us }
    }
}

fn probe(core: usize, stop: &AtomicBool) -> Tally {
    let mut only = CpuSet::new();
    only.set(core);
    // Where pinning is forbidden the thread floats: less even over the cores, still a fair sample.
    let _pinned = sched_setaffinity(None, &only);
    let mut tally = Tally::default();
    for _ in 0..CALIBRATION_PIECES {
        tally.calibration_ns += timed_piece();
    }
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(PIECE_PAUSE);
        tally.cpu_ns += timed_piece();
        tally.pieces += 1;
    }
    tally
}

/// Does one piece and returns the CPU time it was charged.
fn timed_piece() -> u64 {
    let before = thread_cpu_ns();
    black_box(piece(black_box(1)));
    let price_ns = thread_cpu_ns() - before;
    BEST_PIECE_NS.fetch_min(price_ns, Ordering::Relaxed);
    price_ns
}

/// A chain of dependent steps: no memory, no parallelism inside the core, the same time whatever else is cached.
fn piece(mut state: u64) -> u64 {
    for _ in 0..PIECE_STEPS {
        state = (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    state
}

fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Stolen time of all cores since boot: eighth number of the first line of proc_stat(5). Zero where it is not kept.
fn steal_us() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = text.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse::<u64>().ok());
    ticks.unwrap_or(0) * 1_000_000 / rustix::param::clock_ticks_per_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_never_gives_more_than_it_has() {
        let probe = CoreProbe::start().unwrap();
        std::thread::sleep(PIECE_PAUSE * 5);
        let seen = probe.finish();
        assert!(seen.cores >= 1);
        assert!(seen.speed > 0.0 && seen.speed <= 1.0, "{seen:?}");
        assert!(seen.delivered <= seen.cores as f64, "{seen:?}");
        assert!(seen.probe_cpu_us > 0, "{seen:?}");
    }
}
