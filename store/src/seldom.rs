//! Lines of the log that a crowd would write: one a second, which says how many it stands for.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The least time between two lines.
const BETWEEN: Duration = Duration::from_secs(1);

/// How often something happened since it was told.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    told_at: Option<Instant>,
    times: u64,
}

impl Seldom {
    /// Of what has not happened yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Untold { told_at: None, times: 0 }))
    }

    /// Counts once more. When it is time for a line, how many times that line stands for.
    pub fn count(&self, now: Instant) -> Option<u64> {
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        untold.times += 1;
        if untold.told_at.is_some_and(|told_at| now < told_at + BETWEEN) {
            return None;
        }
        untold.told_at = Some(now);
        Some(std::mem::take(&mut untold.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_told_once_a_second_with_its_number() {
        let (seldom, start) = (Seldom::new(), Instant::now());
        let at = |milliseconds| seldom.count(start + Duration::from_millis(milliseconds));
        assert_eq!(at(0), Some(1));
        assert_eq!([at(1), at(500), at(999)], [None; 3]);
        assert_eq!(at(1_000), Some(4));
        assert_eq!(at(1_999), None);
        assert_eq!(at(60_000), Some(2));
    }
}
