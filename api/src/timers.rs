//! The timer: finds tasks that are to be reminded of, or whose time is over, and asks their submissions what follows. Run by `app` on every node.
//! It decides nothing: the submission does, from its own stream, so that of many nodes that ask at the same time one is heard and the
//! others find nothing left to do. It remembers only what it tried in vain, so a restart loses nothing.

mod attempts;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use formledger_domain::{Submission, SubmissionCommand, TenantContext};
use formledger_projections::DueTask;
use formledger_store::{ExecuteError, ExecuteOptions, Executed, Expectation, causes};
use futures_util::{StreamExt, stream};
use metrics::gauge;
use uuid::Uuid;

use self::attempts::{Attempts, Outcome, Stretch};
use crate::app::Api;
use crate::error::ApiError;
use crate::forms::topic;

/// How often the timer looks; what is due is at most this late, beside the lag of the read model.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most pages of one look, so that a look takes a bounded time however much is due: the next one goes on behind them.
const LOOK_PAGES_MAX: usize = 64;
/// Tasks read at once; a look reads on until it has seen all that is due, or [`LOOK_PAGES_MAX`] pages. Few, so that what other nodes did meanwhile is seldom tried.
const PAGE_TASKS: u32 = 256;
/// Escalations on their way at once; they share commits.
const CONCURRENCY: usize = 64;
/// Who asks, in the correlation of what is recorded.
const CORRELATION: &str = "timer";

/// What one look did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Tasks that the read model called due, as far as this look saw them.
    pub due: usize,
    /// Those of them that this look tried; the others wait, because they were tried in vain.
    pub tried: usize,
    /// Those of them of which this look reminded, or that it escalated.
    pub escalated: usize,
    /// Since when the oldest one that it did not escalate is due.
    pub left_since: Option<DateTime<Utc>>,
}

impl Look {
    fn leaves(&mut self, task: &DueTask) {
        self.left_since = Some(self.left_since.map_or(task.due_at, |since| since.min(task.due_at)));
    }

    /// For operators: what this node sees as overdue and did not escalate. More than a moment means that something is stuck.
    fn report(&self, now: DateTime<Utc>) {
        let since = self.left_since.map_or(TimeDelta::zero(), |since| now - since);
        gauge!("formledger_timer_overdue_tasks").set((self.due - self.escalated) as f64);
        gauge!("formledger_timer_overdue_seconds").set(since.as_seconds_f64());
    }
}

/// Looks again and again until the application stops.
pub async fn run(api: Arc<Api>) {
    let mut stopping = api.stopping.clone();
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut attempts = Attempts::default();
    loop {
        tokio::select! {
            // An error means that the application is gone, which is the same.
            _ = stopping.wait_for(|stopping| *stopping) => return,
            _ = interval.tick() => {}
        }
        let now = Utc::now();
        match look(&api, &mut attempts, now).await {
            Ok(look) => look.report(now),
            Err(error) => tracing::warn!(cause = causes(&error), "the timer could not look at what is due"),
        }
    }
}

/// Escalates what is due at `now`, in all tenants, page by page: whatever cannot be escalated stands in nobody's way. It begins anywhere
/// and goes round, so that nodes that look at the same moment share the work: where one arrives, another's work is no longer due. What
/// fails is told in the log and tried again later, see [`Attempts`]. A look that the end of the application meets ends after its page, one that has seen as many
/// pages as it may where it is: the next one goes on there.
///
/// # Errors
/// When what is due cannot be read.
async fn look(api: &Api, attempts: &mut Attempts, now: DateTime<Utc>) -> Result<Look, ApiError> {
    look_at(api, attempts, now, LOOK_PAGES_MAX).await
}

async fn look_at(
    api: &Api,
    attempts: &mut Attempts,
    now: DateTime<Utc>,
    pages_max: usize,
) -> Result<Look, ApiError> {
    let mut look = Look::default();
    let read_models = api.read_models.own();
    if attempts.left.is_empty() {
        let start = read_models.any_due_task(now, Uuid::new_v4().as_fields().0).await?;
        attempts.left = start.map_or_else(Vec::new, |start| {
            vec![
                Stretch { after: None, up_to: Some(start.clone()) },
                Stretch { after: Some(start), up_to: None },
            ]
        });
    }
    let mut pages = 0;
    while let Some(Stretch { after, up_to }) = attempts.left.last().cloned() {
        if pages == pages_max {
            attempts.break_off();
            // What it did not come to may be due for longer than all that it saw.
            read_models.due_tasks(now, None, 1).await?.iter().for_each(|oldest| look.leaves(oldest));
            return Ok(look);
        }
        pages += 1;
        let mut page = read_models.due_tasks(now, after.as_ref(), PAGE_TASKS).await?;
        let mut is_last = page.len() < PAGE_TASKS as usize;
        if let Some(up_to) = &up_to {
            is_last |= page.last().is_some_and(|task| task.place() >= up_to.place());
            page.retain(|task| task.place() <= up_to.place());
        }
        look.due += page.len();
        attempts.left.pop();
        if !is_last {
            attempts.left.push(Stretch { after: page.last().cloned(), up_to });
        }
        escalate_page(api, attempts, page, now, &mut look).await;
        if *api.stopping.borrow() {
            return Ok(look);
        }
    }
    attempts.end_round();
    Ok(look)
}

async fn escalate_page(
    api: &Api,
    attempts: &mut Attempts,
    page: Vec<DueTask>,
    now: DateTime<Utc>,
    look: &mut Look,
) {
    let (tasks, waiting): (Vec<_>, Vec<_>) = page.into_iter().partition(|task| attempts.admit(task, now));
    waiting.iter().for_each(|task| look.leaves(task));
    look.tried += tasks.len();
    let ask = async |task: DueTask| (escalate(api, &task, now).await, task);
    let mut answers = std::pin::pin!(stream::iter(tasks).map(ask).buffer_unordered(CONCURRENCY));
    while let Some((answer, task)) = answers.next().await {
        let outcome = match answer {
            Ok(true) => Outcome::Escalated,
            Ok(false) => Outcome::Nothing,
            Err(error) => {
                let (tenant, submission) = (task.tenant.as_str(), task.submission_id);
                tracing::warn!(tenant, %submission, cause = causes(&error), "what is due could not be escalated");
                Outcome::Failed
            }
        };
        attempts.note(&task, outcome, now);
        match outcome {
            Outcome::Escalated => look.escalated += 1,
            Outcome::Nothing | Outcome::Failed => look.leaves(&task),
        }
    }
}

/// Lets a submission say what follows; nothing when somebody else was faster.
async fn escalate(api: &Api, task: &DueTask, now: DateTime<Utc>) -> Result<bool, ApiError> {
    let context = TenantContext::system(task.tenant.clone(), CORRELATION, now);
    let ledger = api.store.ledger(&context);
    // The read model only says which form to bring: a submission takes no other than its own.
    let form = api.catalogue.pinned(&ledger, &context, &task.form).await?;
    let options = ExecuteOptions {
        expectation: Expectation::Any,
        idempotency: None,
        topic: topic(form.id()),
        basis: None,
        outcome: &|_, events| !events.is_empty(),
    };
    let stream = context.stream::<Submission>(task.submission_id);
    let command = SubmissionCommand::Escalate { form, now };
    match ledger.execute::<Submission, _>(&stream, command, &(), options).await {
        Ok(Executed::Now { outcome: has_events, .. }) => Ok(has_events),
        Ok(Executed::Before(_)) => Ok(false),
        Err(ExecuteError::Refused(refusal)) => Err(refusal.into()),
        Err(ExecuteError::Append(error)) => Err(error.into()),
    }
}
