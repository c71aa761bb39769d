//! Exact percentiles of a run's latencies.
//!
//! By nearest rank on all sorted samples, not from a histogram: a run has at most a few million, and p99.9 must be a
//! latency that some request really had.

use std::fmt;

use serde::Serialize;

/// Which part of the samples lies at or below, in thousandths of a percent: exact where a float would round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantile(u64);

impl Quantile {
    /// The median.
    pub const P50: Self = Self(50_000);
    /// 9 of 10.
    pub const P90: Self = Self(90_000);
    /// 99 of 100.
    pub const P99: Self = Self(99_000);
    /// 999 of 1,000.
    pub const P99_9: Self = Self(99_900);
    /// The maximum.
    pub const MAX: Self = Self(WHOLE);

    /// The smallest of `sorted` that at least this part of them does not exceed; `None` when there are none.
    pub fn of(self, sorted: &[u64]) -> Option<u64> {
        let rank = (sorted.len() as u64 * self.0).div_ceil(WHOLE).max(1);
        sorted.get(usize::try_from(rank).ok()? - 1).copied()
    }
}

const WHOLE: u64 = 100_000;

impl fmt::Display for Quantile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MAX => formatter.write_str("max"),
            Self(part) => write!(formatter, "p{}", part as f64 / 1_000.0),
        }
    }
}

/// The figures every report shows, in microseconds. All zero when there were no samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Latencies {
    /// Median.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p99_9_us: u64,
    /// The slowest.
    pub max_us: u64,
}

impl Latencies {
    /// Takes the percentiles of `latencies_us`, in any order.
    pub fn of(mut latencies_us: Vec<u64>) -> Self {
        latencies_us.sort_unstable();
        let at = |quantile: Quantile| quantile.of(&latencies_us).unwrap_or_default();
        Self {
            p50_us: at(Quantile::P50),
            p90_us: at(Quantile::P90),
            p99_us: at(Quantile::P99),
            p99_9_us: at(Quantile::P99_9),
            max_us: at(Quantile::MAX),
        }
    }
}

/// The middle of a few figures (mean of the two middle ones when there is an even number); `None` when there are none.
pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = *figures.get(middle)?;
    Some(if figures.len() % 2 == 1 { upper } else { (figures[middle - 1] + upper) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let latencies: Vec<u64> = (1..=1_000).rev().collect();
        let expected = Latencies { p50_us: 500, p90_us: 900, p99_us: 990, p99_9_us: 999, max_us: 1_000 };
        assert_eq!(Latencies::of(latencies), expected);
    }

    #[test]
    fn a_percentile_is_the_first_sample_that_enough_do_not_exceed() {
        let sorted: Vec<u64> = (1..=1_001).collect();
        assert_eq!(Quantile::P99_9.of(&sorted), Some(1_000));
        assert_eq!(Quantile::P50.of(&[1, 2]), Some(1));
        assert_eq!(Quantile::P50.of(&[1, 2, 3]), Some(2));
        assert_eq!(Quantile::P99.of(&[7]), Some(7));
    }

    #[test]
    fn one_slow_request_in_a_thousand_is_in_the_maximum_and_not_yet_in_p99_9() {
        let mut latencies = vec![10; 999];
        latencies.push(5_000);
        let one = Latencies::of(latencies.clone());
        assert_eq!((one.p99_9_us, one.max_us), (10, 5_000));
        latencies[0] = 4_000;
        assert_eq!(Latencies::of(latencies).p99_9_us, 4_000);
    }

    #[test]
    fn no_samples_have_no_percentiles() {
        assert_eq!(Quantile::P50.of(&[]), None);
        assert_eq!(Latencies::of(Vec::new()), Latencies::default());
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn the_median_of_rounds_ignores_one_bad_round() {
        assert_eq!(median(vec![30.0, 1.0, 31.0]), Some(30.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
