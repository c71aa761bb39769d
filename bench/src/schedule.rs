//! The open loop's arrivals: at which moment each request is due, fixed before the first one is sent.
//!
//! `pacer` releases requests by it and takes every latency from it. It must not learn how the server is doing: a schedule
//! that waits for answers hides the very waits it should measure (coordinated omission).

use std::time::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Evenly spaced arrivals at a fixed rate, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    rate_per_second: u64,
}

impl Schedule {
    /// A schedule of `rate_per_second` arrivals; `None` for a rate of zero, which would have none.
    pub fn new(rate_per_second: u64) -> Option<Self> {
        (rate_per_second > 0).then_some(Self { rate_per_second })
    }

    /// When arrival number `index` is due, from the schedule's start. Exact to the nanosecond, so that rounding cannot
    /// accumulate into a wrong rate.
    pub fn due_at(&self, index: u64) -> Duration {
        let nanos = u128::from(index) * NANOS_PER_SECOND / u128::from(self.rate_per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many arrivals are due once `elapsed` has passed. Arrival 0 is due at once.
    pub fn due_count(&self, elapsed: Duration) -> u64 {
        // `due_at` rounds down, so arrival `n` is due as soon as n * 1e9 < (elapsed + 1 ns) * rate.
        let due = ((elapsed.as_nanos() + 1) * u128::from(self.rate_per_second)).div_ceil(NANOS_PER_SECOND);
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    /// How many arrivals fall into the first `duration`.
    pub fn arrivals_within(&self, duration: Duration) -> u64 {
        let arrivals = (duration.as_nanos() * u128::from(self.rate_per_second)).div_ceil(NANOS_PER_SECOND);
        u64::try_from(arrivals).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [u64; 6] = [1, 3, 7, 8_600, 100_000, 999_983];

    #[test]
    fn a_rate_of_zero_is_no_schedule() {
        assert_eq!(Schedule::new(0), None);
    }

    #[test]
    fn the_spacing_never_drifts() {
        for rate in RATES {
            let schedule = Schedule::new(rate).unwrap();
            assert_eq!(schedule.due_at(0), Duration::ZERO);
            assert_eq!(schedule.due_at(rate * 3_600), Duration::from_secs(3_600), "rate {rate}");
        }
    }

    #[test]
    fn an_arrival_is_due_at_its_moment_and_not_a_nanosecond_earlier() {
        for rate in RATES {
            let schedule = Schedule::new(rate).unwrap();
            for index in [1, 2, 3, 10, 8_599, 8_600, 8_601, 123_456] {
                let due = schedule.due_at(index);
                assert_eq!(schedule.due_count(due), index + 1, "rate {rate}, index {index}");
                assert_eq!(
                    schedule.due_count(due - Duration::from_nanos(1)),
                    index,
                    "rate {rate}, index {index}"
                );
            }
        }
    }

    #[test]
    fn a_window_holds_rate_times_duration_arrivals() {
        let schedule = Schedule::new(8_600).unwrap();
        assert_eq!(schedule.arrivals_within(Duration::from_secs(15)), 129_000);
        assert_eq!(schedule.arrivals_within(Duration::ZERO), 0);
    }
}
