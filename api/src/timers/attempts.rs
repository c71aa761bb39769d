//! What the timer tried in vain, and when each is tried again: later and later, so that a task that cannot be escalated costs next to
//! nothing. Used by [`super`] alone; one node's own memory, forgotten with it.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use formledger_domain::{SubmissionId, TenantId};
use formledger_projections::DueTask;

/// How long a task waits after the first attempt in vain; each further one doubles it.
const WAIT_FIRST: TimeDelta = TimeDelta::seconds(2);
/// The longest wait, and so how late an escalation is at most once what stood in its way is gone.
const WAIT_MAX: TimeDelta = TimeDelta::seconds(60);
/// Tasks remembered, some 10 MiB; what does not fit is tried by every look, within [`FAILED_MAX`].
const REMEMBERED_MAX: usize = 65_536;
/// Failures of one tenant after which a look leaves its further tasks to the next looks, known after each page; first attempts and repeated
/// ones count by themselves, so that many old failures do not keep back what was never tried.
const FAILED_MAX: u32 = 64;

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Escalated,
    /// There was nothing left to do: another node was faster, or the read model is behind.
    Nothing,
    /// It could not be decided or recorded.
    Failed,
}

/// Whether a task was tried before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Turn {
    First,
    Again,
}

/// A task by its due date too: a submission's next task is another one.
type Key = (TenantId, SubmissionId, DateTime<Utc>);

#[derive(Debug)]
struct Waiting {
    wait: TimeDelta,
    until: DateTime<Utc>,
    /// Seen by the round that is under way.
    seen: bool,
}

/// A part of what is due, in its order.
#[derive(Debug, Clone)]
pub struct Stretch {
    /// The task before its first; `None` for the oldest of all.
    pub after: Option<DueTask>,
    /// Its last task; `None` for the newest of all.
    pub up_to: Option<DueTask>,
}

/// One node's memory of attempts in vain.
#[derive(Debug, Default)]
pub struct Attempts {
    /// What the round under way has still to see, the next one last; nothing before it begins.
    pub left: Vec<Stretch>,
    waiting: HashMap<Key, Waiting>,
    /// Failures in the look that is under way.
    failed: HashMap<(TenantId, Turn), u32>,
}

impl Attempts {
    /// Whether to try the task now.
    pub fn admit(&mut self, task: &DueTask, now: DateTime<Utc>) -> bool {
        let waiting = self.waiting.get_mut(&key(task));
        let (turn, ready) = match waiting {
            None => (Turn::First, true),
            Some(waiting) => {
                waiting.seen = true;
                (Turn::Again, waiting.until <= now)
            }
        };
        let failed = self.failed.get(&(task.tenant.clone(), turn)).copied().unwrap_or_default();
        ready && failed < FAILED_MAX
    }

    /// Keeps what came of a task that was admitted.
    pub fn note(&mut self, task: &DueTask, outcome: Outcome, now: DateTime<Utc>) {
        let before = self.waiting.remove(&key(task));
        if outcome == Outcome::Failed {
            let turn = if before.is_some() { Turn::Again } else { Turn::First };
            *self.failed.entry((task.tenant.clone(), turn)).or_default() += 1;
        }
        if outcome != Outcome::Escalated && self.waiting.len() < REMEMBERED_MAX {
            let wait = before.map_or(WAIT_FIRST, |before| (before.wait * 2).min(WAIT_MAX));
            self.waiting.insert(key(task), Waiting { wait, until: now + wait, seen: true });
        }
    }

    /// Ends a look that has not seen all that is due: the next one goes on.
    pub fn break_off(&mut self) {
        self.failed.clear();
    }

    /// Ends a round that has seen all that is due, in one look or several: what it did not see is no longer due.
    pub fn end_round(&mut self) {
        self.failed.clear();
        self.waiting.retain(|_, waiting| std::mem::take(&mut waiting.seen));
    }
}

fn key(task: &DueTask) -> Key {
    (task.tenant.clone(), task.submission_id, task.due_at)
}

#[cfg(test)]
mod tests {
    use formledger_domain::{FormPin, FormVersion};
    use uuid::Uuid;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    fn task(tenant: &str, number: u128) -> DueTask {
        DueTask {
            due_at: at(0),
            tenant: tenant.parse().expect("a slug"),
            submission_id: SubmissionId(Uuid::from_u128(number)),
            form: FormPin { form: "claim".parse().expect("a form id"), version: FormVersion(1) },
        }
    }

    /// Lets a look see the tasks; answers which of them it tried.
    fn look(attempts: &mut Attempts, tasks: &[DueTask], outcome: Outcome, now: DateTime<Utc>) -> Vec<u128> {
        let mut tried = Vec::new();
        for task in tasks {
            if attempts.admit(task, now) {
                attempts.note(task, outcome, now);
                tried.push(task.submission_id.0.as_u128());
            }
        }
        attempts.end_round();
        tried
    }

    #[test]
    fn what_was_in_vain_is_tried_later_and_later_and_at_least_once_a_minute() {
        let (mut attempts, tasks) = (Attempts::default(), [task("acme", 1)]);
        let tried = (0..200).filter(|second| {
            let outcome = if second % 2 == 0 { Outcome::Nothing } else { Outcome::Failed };
            !look(&mut attempts, &tasks, outcome, at(*second)).is_empty()
        });
        assert_eq!(tried.collect::<Vec<_>>(), [0, 2, 6, 14, 30, 62, 122, 182]);
    }

    #[test]
    fn the_next_task_of_a_submission_does_not_wait_for_the_one_before() {
        let (mut attempts, first) = (Attempts::default(), task("acme", 1));
        let next = DueTask { due_at: at(1), ..first.clone() };
        assert_eq!(look(&mut attempts, &[first], Outcome::Nothing, at(1)), [1]);
        assert_eq!(look(&mut attempts, &[next], Outcome::Escalated, at(1)), [1]);
        assert!(attempts.waiting.is_empty(), "what is not due any more is forgotten");
    }

    #[test]
    fn many_failures_of_a_tenant_keep_back_neither_another_tenant_nor_what_was_never_tried() {
        let mut attempts = Attempts::default();
        let mut tasks: Vec<DueTask> = (0..1_000).map(|number| task("acme", number)).collect();
        tasks.push(task("globex", 7));
        let mut tried = std::collections::BTreeSet::new();
        for second in 0..16 {
            let now = look(&mut attempts, &tasks, Outcome::Failed, at(second));
            assert!(now.len() <= 2 * FAILED_MAX as usize + 1, "{second}: {}", now.len());
            assert!(second > 0 || now.contains(&7), "globex is served by the first look");
            tried.extend(now);
        }
        assert_eq!(tried.len(), 1_000, "each had its turn");
    }

    #[test]
    fn memory_is_bounded_and_what_does_not_fit_is_tried_all_the_same() {
        let mut attempts = Attempts::default();
        let tasks: Vec<DueTask> =
            (0..REMEMBERED_MAX as u128 + 1).map(|number| task("acme", number)).collect();
        for _ in 0..2 {
            assert!(
                look(&mut attempts, &tasks, Outcome::Nothing, at(0)).ends_with(&[REMEMBERED_MAX as u128])
            );
            assert_eq!(attempts.waiting.len(), REMEMBERED_MAX);
        }
    }
}
