//! The bounds a samples file must keep, each with its own message when it does not.
//!
//! Called by `formledger-bench check` and by `figures`. It trusts nothing about who wrote the file: besides the
//! percentiles it asks whether the times can be true, and whether the schedule was really kept.

use std::time::Duration;

use crate::percentile::Quantile;
use crate::sample::Sample;

/// How many samples p99.9 takes to mean anything: a hundred of them then lie beyond it.
pub const SAMPLES_MIN_DEFAULT: usize = 100_000;

/// No run is longer; times beyond this are nanoseconds or dates by mistake.
const PLAUSIBLE_RUN_US: u64 = 24 * 60 * 60 * 1_000_000;
/// How far an intended time may lie from the fixed schedule: rounding, and nothing else.
const SCHEDULE_TOLERANCE_US: u64 = 10;
/// Rounding down to microseconds can make an answer seem this much earlier than its request.
const ROUNDING_US: u64 = 1;

/// What must hold. A bound that is `None` is not checked; order and plausibility of the times always are.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Fewer samples than this are not evidence.
    pub samples_min: usize,
    /// Every sample must have this status.
    pub expect_status: Option<u16>,
    /// The offered rate: intended times must lie on this fixed schedule without a gap.
    pub rate_per_second: Option<u64>,
    /// Upper bounds, ends included.
    pub latencies_max: Vec<(Quantile, Duration)>,
}

impl Bounds {
    /// Only the number of samples and the truth of their times.
    pub fn samples(samples_min: usize) -> Self {
        Self { samples_min, expect_status: None, rate_per_second: None, latencies_max: Vec::new() }
    }

    /// One sentence for each bound that failed; none when all hold.
    pub fn violations(&self, samples: &[Sample]) -> Vec<String> {
        let mut violations = Vec::new();
        if samples.len() < self.samples_min {
            violations.push(format!("samples: {}, at least {} are needed", samples.len(), self.samples_min));
        }
        violations.extend(times_violation(samples));
        violations.extend(self.rate_per_second.and_then(|rate| schedule_violation(samples, rate)));
        violations.extend(self.expect_status.and_then(|status| status_violation(samples, status)));
        violations.extend(self.latency_violations(samples));
        violations
    }

    fn latency_violations(&self, samples: &[Sample]) -> Vec<String> {
        let mut sorted: Vec<u64> = samples.iter().map(|sample| sample.latency_us).collect();
        sorted.sort_unstable();
        let exceeded = |&(quantile, bound): &(Quantile, Duration)| {
            let latency = Duration::from_micros(quantile.of(&sorted)?);
            (latency > bound).then(|| format!("{quantile}: {latency:?}, at most {bound:?} is allowed"))
        };
        self.latencies_max.iter().filter_map(exceeded).collect()
    }
}

/// The first sample whose times cannot be true.
fn times_violation(samples: &[Sample]) -> Option<String> {
    let mut previous_intended = 0;
    for (index, sample) in samples.iter().enumerate() {
        let Sample { intended_us, start_us, latency_us, .. } = *sample;
        let place = format!("times: sample {} (intended_us {intended_us})", index + 1);
        if intended_us < previous_intended {
            return Some(format!("{place} comes after one intended at {previous_intended} us: not in order"));
        }
        if start_us < intended_us {
            return Some(format!("{place} started at {start_us} us, before it was intended"));
        }
        if latency_us == 0 || latency_us + ROUNDING_US < start_us - intended_us {
            return Some(format!(
                "{place} was answered after {latency_us} us, before it started at {start_us} us"
            ));
        }
        if intended_us > PLAUSIBLE_RUN_US || latency_us > PLAUSIBLE_RUN_US {
            return Some(format!("{place} lies outside a day: not microseconds from the run's start"));
        }
        previous_intended = intended_us;
    }
    let coarse = samples.len() > 1 && samples.iter().all(|sample| sample.latency_us % 1_000 == 0);
    coarse.then(|| "times: every latency is a whole millisecond, microseconds are needed".to_owned())
}

/// The first sample that is not where the fixed schedule wants it: a slowed or thinned-out arrival.
fn schedule_violation(samples: &[Sample], rate_per_second: u64) -> Option<String> {
    let first_us = samples.first()?.intended_us;
    samples.iter().enumerate().find_map(|(index, sample)| {
        let offset_us = u128::try_from(index).ok()? * 1_000_000 / u128::from(rate_per_second);
        let due_us = first_us + u64::try_from(offset_us).ok()?;
        let kept = sample.intended_us.abs_diff(due_us) <= SCHEDULE_TOLERANCE_US;
        (!kept).then(|| {
            let (number, intended_us) = (index + 1, sample.intended_us);
            format!("rate: at {rate_per_second}/s sample {number} is due at {due_us} us, the file says {intended_us} us")
        })
    })
}

fn status_violation(samples: &[Sample], expected: u16) -> Option<String> {
    let mut others = samples.iter().filter(|sample| sample.status != expected);
    let first = others.next()?;
    let count = 1 + others.count();
    Some(format!(
        "status: {count} of {} are not {expected}; the first is {} at {} us",
        samples.len(),
        first.status,
        first.intended_us
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 1_000;

    /// A thousand samples a millisecond apart, latencies 1,001 to 2,000 us.
    fn good() -> Vec<Sample> {
        (0..1_000)
            .map(|index| Sample {
                intended_us: index * 1_000,
                start_us: index * 1_000 + 20,
                latency_us: 1_001 + index,
                status: 201,
                bytes: 400,
            })
            .collect()
    }

    fn bounds() -> Bounds {
        Bounds {
            samples_min: 1_000,
            expect_status: Some(201),
            rate_per_second: Some(RATE),
            latencies_max: vec![
                (Quantile::P50, Duration::from_micros(1_500)),
                (Quantile::P99, Duration::from_micros(1_990)),
                (Quantile::P99_9, Duration::from_micros(1_999)),
                (Quantile::MAX, Duration::from_micros(2_000)),
            ],
        }
    }

    /// Damages the good samples and expects exactly one failed bound, named by its first word.
    fn only_fails(name: &str, damage: impl FnOnce(&mut Vec<Sample>)) {
        let mut samples = good();
        damage(&mut samples);
        let violations = bounds().violations(&samples);
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(violations[0].starts_with(name), "{violations:?}");
    }

    #[test]
    fn samples_within_every_bound_pass() {
        assert_eq!(bounds().violations(&good()), [""; 0]);
    }

    #[test]
    fn too_few_samples_fail() {
        only_fails("samples", |samples| samples.truncate(999));
        assert!(!bounds().violations(&[]).is_empty());
    }

    #[test]
    fn each_percentile_can_fail_alone() {
        for (name, at, count) in [("p50", 400, 200), ("p99", 985, 10), ("p99.9", 995, 4)] {
            let mut alone = bounds();
            alone.latencies_max.retain(|(quantile, _)| quantile.to_string() == name);
            let mut samples = good();
            samples[at..at + count].iter_mut().for_each(|sample| sample.latency_us = 9_001);
            let violations = alone.violations(&samples);
            assert!(violations.len() == 1 && violations[0].starts_with(name), "{name}: {violations:?}");
        }
        only_fails("max", |samples| samples[999].latency_us = 2_001);
    }

    #[test]
    fn one_unexpected_status_fails() {
        only_fails("status", |samples| samples[5].status = 503);
        only_fails("status", |samples| samples[5].status = crate::sample::NO_ANSWER);
    }

    #[test]
    fn an_arrival_that_waited_for_the_server_fails() {
        only_fails("rate", |samples| {
            samples[500..].iter_mut().for_each(|sample| {
                sample.intended_us += 50_000;
                sample.start_us += 50_000;
            });
        });
    }

    #[test]
    fn a_left_out_sample_fails_although_enough_remain() {
        let mut loose = bounds();
        loose.samples_min = 1;
        loose.latencies_max.clear();
        let mut samples = good();
        samples.remove(500);
        let violations = loose.violations(&samples);
        assert!(violations.len() == 1 && violations[0].starts_with("rate"), "{violations:?}");
    }

    #[test]
    fn times_that_cannot_be_true_fail() {
        let mut untimed = bounds();
        untimed.rate_per_second = None;
        let damages: [fn(&mut Vec<Sample>); 6] = [
            |samples| samples.swap(3, 4),
            |samples| samples[3].start_us = 0,
            |samples| samples[3].latency_us = 0,
            |samples| samples[3].start_us += 5_000,
            |samples| samples[999].intended_us = u64::from(u32::MAX) * 1_000,
            |samples| samples.iter_mut().for_each(|sample| sample.latency_us = 1_000),
        ];
        for (index, damage) in damages.into_iter().enumerate() {
            let mut samples = good();
            damage(&mut samples);
            let violations = untimed.violations(&samples);
            assert!(
                violations.iter().any(|text| text.starts_with("times")),
                "damage {index}: {violations:?}"
            );
        }
    }
}
