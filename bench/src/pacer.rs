//! Who may send the next request, and since when it has been due: the one difference between open and closed loop.
//!
//! Every connection of `load` asks [`Pacer::next`] for a turn. In the open loop a task of its own releases turns by the
//! schedule whether or not answers came, so turns pile up behind a slow server and their wait counts as latency. In the
//! closed loop a turn is due when it is asked for.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;

use crate::schedule::Schedule;

/// The release task never sleeps shorter than this: arrivals closer together go out in one wake-up, the earlier ones up to
/// this late. Half of it doubles the generator's CPU on an idle machine, and buys nothing against latencies in milliseconds.
const RELEASE_GRAIN: Duration = Duration::from_micros(100);

/// Permission to send one request.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// The request's number, from 0, warm-up included.
    pub sequence: u64,
    /// When it should have been sent: latency counts from here.
    pub intended: Instant,
    /// False during warm-up.
    pub measured: bool,
}

/// How long a run lasts.
#[derive(Debug, Clone, Copy)]
pub enum Length {
    /// Send for this long after the warm-up.
    Time(Duration),
    /// Send this many requests after the warm-up.
    Requests(u64),
}

/// Hands out turns to all connections of a run.
#[derive(Debug)]
pub struct Pacer {
    start: Instant,
    warmup: Duration,
    next_sequence: AtomicU64,
    pace: Pace,
}

#[derive(Debug)]
enum Pace {
    Open { schedule: Schedule, total: u64, warmup_requests: u64, released: Semaphore },
    Closed { end: Option<Instant>, measured_left: AtomicU64 },
}

impl Pacer {
    /// Arrivals by `schedule` from `start` on. Someone has to run [`Pacer::release`] beside the connections.
    pub fn open(schedule: Schedule, start: Instant, warmup: Duration, length: Length) -> Self {
        let warmup_requests = schedule.arrivals_within(warmup);
        let measured = match length {
            Length::Time(duration) => schedule.arrivals_within(duration),
            Length::Requests(requests) => requests,
        };
        let total = warmup_requests + measured;
        let pace = Pace::Open { schedule, total, warmup_requests, released: Semaphore::new(0) };
        Self { start, warmup, next_sequence: AtomicU64::new(0), pace }
    }

    /// Each connection sends its next request as soon as it has its answer.
    pub fn closed(start: Instant, warmup: Duration, length: Length) -> Self {
        let (end, requests) = match length {
            Length::Time(duration) => (Some(start + warmup + duration), u64::MAX),
            Length::Requests(requests) => (None, requests),
        };
        let pace = Pace::Closed { end, measured_left: AtomicU64::new(requests) };
        Self { start, warmup, next_sequence: AtomicU64::new(0), pace }
    }

    /// When warm-up ends: the origin of the samples' times.
    pub fn origin(&self) -> Instant {
        self.start + self.warmup
    }

    /// When the last turn is due, if that is known beforehand.
    pub fn end(&self) -> Option<Instant> {
        match &self.pace {
            Pace::Open { schedule, total, .. } => Some(self.start + schedule.due_at(*total)),
            Pace::Closed { end, .. } => *end,
        }
    }

    /// The next turn, or `None` when the run is over.
    pub async fn next(&self) -> Option<Turn> {
        match &self.pace {
            Pace::Open { total, released, .. } => {
                released.acquire().await.ok()?.forget();
                let sequence = self.next_sequence.fetch_add(1, Ordering::Relaxed);
                (sequence < *total).then(|| self.scheduled(sequence))
            }
            Pace::Closed { end, measured_left } => {
                let intended = Instant::now();
                let measured = intended >= self.origin();
                if end.is_some_and(|end| intended >= end) || (measured && !take_one(measured_left)) {
                    return None;
                }
                let sequence = self.next_sequence.fetch_add(1, Ordering::Relaxed);
                Some(Turn { sequence, intended, measured })
            }
        }
    }

    /// Releases the open loop's turns as they become due, then lets each of `connections` find the run over. Returns at
    /// once in the closed loop.
    ///
    /// # Errors
    /// The kernel refused a timer.
    pub async fn release(&self, connections: usize) -> Result<()> {
        let Pace::Open { schedule, total, released, .. } = &self.pace else { return Ok(()) };
        let timer = FineTimer::new()?;
        let mut released_count = 0;
        loop {
            let due = schedule.due_count(self.start.elapsed()).min(*total);
            released.add_permits(usize::try_from(due - released_count)?);
            released_count = due;
            if due == *total {
                break;
            }
            let wait = (self.start + schedule.due_at(due)).saturating_duration_since(Instant::now());
            timer.sleep(wait.max(RELEASE_GRAIN)).await?;
        }
        released.add_permits(connections);
        Ok(())
    }

    /// The open loop's turns that no connection has taken, after the connections are gone. They were due, so leaving
    /// them out of the samples would hide the worst waits.
    pub fn untaken(&self) -> impl Iterator<Item = Turn> + '_ {
        let taken = self.next_sequence.load(Ordering::Relaxed);
        let total = match &self.pace {
            Pace::Open { total, .. } => *total,
            Pace::Closed { .. } => 0,
        };
        (taken..total).map(|sequence| self.scheduled(sequence))
    }

    fn scheduled(&self, sequence: u64) -> Turn {
        match &self.pace {
            Pace::Open { schedule, warmup_requests, .. } => Turn {
                sequence,
                intended: self.start + schedule.due_at(sequence),
                measured: sequence >= *warmup_requests,
            },
            Pace::Closed { .. } => unreachable!("only the open loop has a schedule"),
        }
    }
}

fn take_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// A kernel timer in the event loop. Tokio's own sleeps round up to whole milliseconds, ten arrivals at 10,000/s; a thread
/// of its own for the releases costs two wake-ups more for each arrival.
struct FineTimer {
    descriptor: AsyncFd<OwnedFd>,
}

impl FineTimer {
    fn new() -> Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags).context("timerfd_create")?;
        #[expect(
            deprecated,
            reason = "its unsafe successor asks for what an `OwnedFd` guarantees: one open descriptor"
        )]
        let descriptor = AsyncFd::with_interest(descriptor, Interest::READABLE)?;
        Ok(Self { descriptor })
    }

    /// One timer is armed at a time: whoever awaits this has the descriptor's readiness to itself.
    async fn sleep(&self, duration: Duration) -> Result<()> {
        const NEVER_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value =
            Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) };
        let once = Itimerspec { it_interval: NEVER_AGAIN, it_value };
        timerfd_settime(self.descriptor.get_ref(), TimerfdTimerFlags::empty(), &once)
            .context("timerfd_settime")?;
        // Arming again also clears the expirations, so the descriptor need not be read: one system call less.
        self.descriptor.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn open_turns_are_due_by_the_schedule_however_late_they_are_taken() {
        runtime().block_on(async {
            let start = Instant::now();
            let schedule = Schedule::new(1_000).unwrap();
            let (warmup, length) = (Duration::from_millis(5), Length::Requests(20));
            let pacer = Pacer::open(schedule, start, warmup, length);
            pacer.release(1).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            for index in 0..25 {
                let turn = pacer.next().await.unwrap();
                assert_eq!(turn.sequence, index);
                assert_eq!(turn.intended, start + Duration::from_millis(index));
                assert_eq!(turn.measured, index >= 5);
            }
            assert!(pacer.next().await.is_none());
        });
    }

    #[test]
    fn turns_that_nobody_took_are_still_there_to_be_counted() {
        runtime().block_on(async {
            let schedule = Schedule::new(1_000_000).unwrap();
            let pacer = Pacer::open(schedule, Instant::now(), Duration::ZERO, Length::Requests(10));
            pacer.release(1).await.unwrap();
            for _ in 0..4 {
                pacer.next().await.unwrap();
            }
            let left: Vec<u64> = pacer.untaken().map(|turn| turn.sequence).collect();
            assert_eq!(left, [4, 5, 6, 7, 8, 9]);
        });
    }

    #[test]
    fn the_closed_loop_ends_after_its_requests_or_its_time() {
        runtime().block_on(async {
            let pacer = Pacer::closed(Instant::now(), Duration::ZERO, Length::Requests(3));
            for sequence in 0..3 {
                assert_eq!(pacer.next().await.unwrap().sequence, sequence);
            }
            assert!(pacer.next().await.is_none());

            let over = Pacer::closed(Instant::now(), Duration::ZERO, Length::Time(Duration::ZERO));
            assert!(over.next().await.is_none());
        });
    }
}
