//! How much work a piece of a test was: the CPU time of its thread, so that a busy machine makes no test fail.

use std::time::{Duration, Instant};

/// From when on work is counted.
pub struct Effort {
    cpu: Option<Duration>,
    wall: Instant,
}

impl Effort {
    /// Counts from now on, on this thread.
    pub fn begin() -> Self {
        Self { cpu: cpu(), wall: Instant::now() }
    }

    /// The CPU time that this thread took since; the time of the clock where the system does not tell.
    pub fn spent(&self) -> Duration {
        match (self.cpu, cpu()) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => self.wall.elapsed(),
        }
    }
}

/// What Linux charged this thread so far (`schedstat`, whose first number is nanoseconds on a core).
fn cpu() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}
