//! Whether anything can be recorded: what the writer is at, and how its last batch ended. Kept by the writer, asked through `Store`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::StoreError;

/// A batch that takes longer holds up everybody. Ordinary ones take milliseconds.
const STALLED_MIN: Duration = Duration::from_secs(10);
/// For so long a failure says that the next command would fail as well; then only one that is tried can tell.
const FAILED_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the batch began that is being recorded.
    began: Option<Instant>,
    /// When and why the last one could not be.
    failed: Option<(Instant, StoreError)>,
    /// From when to when commands were refused for ledgers that others hold, with nothing recorded in between.
    held: Option<(Instant, Instant)>,
}

impl Progress {
    /// A batch is being recorded from now on.
    pub(crate) fn begin(&self) {
        self.state().began = Some(Instant::now());
    }

    /// Something was recorded. Said before its callers are answered, who may ask next.
    pub(crate) fn recorded(&self) {
        let mut state = self.state();
        (state.failed, state.held) = (None, None);
    }

    /// Some could not be, because another process holds their ledgers. Where that is all that happens for a while, it is no matter of few tenants.
    pub(crate) fn held(&self) {
        self.held_at(Instant::now());
    }

    fn held_at(&self, now: Instant) {
        let held = &mut self.state().held;
        let since = held.filter(|(_, last)| now - *last < FAILED_MAX).map_or(now, |(since, _)| since);
        *held = Some((since, now));
    }

    /// It could not be.
    pub(crate) fn failed(&self, error: &StoreError) {
        self.state().failed = Some((Instant::now(), error.clone()));
    }

    /// The writer is done with it and waits for commands.
    pub(crate) fn rest(&self) {
        self.state().began = None;
    }

    /// Whether a command would be recorded now, as far as is known.
    ///
    /// # Errors
    /// Why the last ones were not, or [`StoreError::Busy`] where one takes long.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.check_at(Instant::now())
    }

    fn check_at(&self, now: Instant) -> Result<(), StoreError> {
        match &*self.state() {
            State { failed: Some((when, error)), .. } if now - *when < FAILED_MAX => Err(error.clone()),
            State { held: Some((since, last)), .. }
                if *last - *since >= STALLED_MIN && now - *last < FAILED_MAX =>
            {
                Err(StoreError::Held)
            }
            State { began: Some(when), .. } if now - *when >= STALLED_MIN => Err(StoreError::Busy),
            _ => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(progress: &Progress, time: Duration) -> Result<(), StoreError> {
        progress.check_at(Instant::now() + time)
    }

    #[test]
    fn a_batch_that_takes_long_stands_in_the_way_until_it_is_recorded() {
        let progress = Progress::default();
        progress.begin();
        assert!(after(&progress, STALLED_MIN / 2).is_ok());
        assert!(matches!(after(&progress, STALLED_MIN), Err(StoreError::Busy)));
        progress.recorded();
        progress.rest();
        assert!(after(&progress, STALLED_MIN).is_ok(), "nothing is being recorded");
    }

    #[test]
    fn ledgers_that_others_hold_stand_in_the_way_of_all_once_nothing_else_is_recorded_for_long() {
        let (progress, start) = (Progress::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..=9 {
            progress.held_at(at(second));
            assert!(progress.check_at(at(second)).is_ok(), "{second}");
        }
        progress.recorded();
        for second in 10..=20 {
            assert!(progress.check_at(at(second)).is_ok(), "{second}: a neighbour was recorded");
            progress.held_at(at(second));
        }
        assert!(matches!(progress.check_at(at(20)), Err(StoreError::Held)));
        assert!(matches!(progress.check_at(at(29)), Err(StoreError::Held)));
        assert!(progress.check_at(at(30)).is_ok(), "who sends nothing because of it would never learn");
        progress.held_at(at(31));
        assert!(progress.check_at(at(31)).is_ok(), "that is another time");
    }

    #[test]
    fn a_failure_is_told_until_a_batch_is_recorded_or_it_says_nothing_any_more() {
        let progress = Progress::default();
        progress.begin();
        progress.failed(&StoreError::StorageFull);
        assert!(matches!(progress.check(), Err(StoreError::StorageFull)));
        progress.rest();
        assert!(matches!(after(&progress, FAILED_MAX / 2), Err(StoreError::StorageFull)));
        assert!(after(&progress, FAILED_MAX).is_ok(), "who sends nothing because of it would never learn");
        progress.begin();
        assert!(matches!(progress.check(), Err(StoreError::StorageFull)), "the next is not recorded yet");
        progress.recorded();
        assert!(progress.check().is_ok());
    }
}
