//! When an event of the past is due again: at its recorded distance from the first one, divided by the speed.
//! Used by feed replays. Gaps are kept as they were recorded, however long: who does not want to wait asks for another speed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use tokio::time::Instant;

/// How much faster than recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// So many times; 1 is as recorded.
    Times(f64),
    /// As fast as the ledger can be read.
    Max,
}

impl Serialize for Speed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            // `1`, as it is mostly written, rather than `1.0`.
            Self::Times(times) if times.fract() == 0.0 => serializer.serialize_u64(*times as u64),
            Self::Times(times) => serializer.serialize_f64(*times),
            Self::Max => serializer.serialize_str("max"),
        }
    }
}

/// The beginning of a replay, in recorded time and in ours.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    times: f64,
    first: DateTime<Utc>,
    began: Instant,
}

impl Pace {
    /// The event recorded at `first` is due now.
    pub fn new(times: f64, first: DateTime<Utc>) -> Self {
        Self { times, first, began: Instant::now() }
    }

    /// When the event recorded at `at` is due. The ledger's times never go back, so neither do these.
    pub fn due(&self, at: DateTime<Utc>) -> Instant {
        let since_first = (at - self.first).to_std().unwrap_or_default();
        self.began + since_first.div_f64(self.times)
    }

    /// Everything is due so much later.
    pub fn delay(&mut self, by: Duration) {
        self.began += by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn recorded_gaps_are_kept_divided_by_the_speed_and_moved_by_pauses() {
        let first = DateTime::UNIX_EPOCH;
        let began = Instant::now();
        let mut pace = Pace::new(10.0, first);
        assert_eq!(pace.due(first), began);
        assert_eq!(pace.due(first + TimeDelta::seconds(30)), began + Duration::from_secs(3));
        assert_eq!(pace.due(first + TimeDelta::days(3650)), began + Duration::from_secs(365 * 86_400));
        pace.delay(Duration::from_secs(60));
        assert_eq!(pace.due(first + TimeDelta::seconds(30)), began + Duration::from_secs(63));
    }

    #[test]
    fn a_speed_is_shown_as_it_is_asked_for() {
        let shown = [Speed::Times(1.0), Speed::Times(0.5), Speed::Max].map(|speed| json!(speed));
        assert_eq!(shown, [json!(1), json!(0.5), json!("max")]);
    }
}
