//! The timer: finds tasks whose time is over and asks their submissions what follows. Run by `app` on every node.
//! It keeps nothing in memory, so a restart loses nothing; and it decides nothing: the submission does, from its own stream, so that of
//! many nodes that ask at the same time one is heard and the others find nothing left to do.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use formledger_domain::{Submission, SubmissionCommand, TenantContext};
use formledger_projections::DueTask;
use formledger_store::{ExecuteError, ExecuteOptions, Executed, Expectation, causes};
use futures_util::{StreamExt, stream};
use uuid::Uuid;

use crate::app::Api;
use crate::error::ApiError;
use crate::forms::topic;
use crate::submissions::fold;

/// How often the timer looks; what is due is at most this late, beside the lag of the read model.
const INTERVAL: Duration = Duration::from_secs(1);
/// Tasks taken up by one look; the longest overdue first, the others by the next looks.
const DUE_MAX: u32 = 1_000;
/// Escalations on their way at once; they share commits.
const CONCURRENCY: usize = 64;
/// Who asks, in the correlation of what is recorded.
const CORRELATION: &str = "timer";

/// What one look did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Tasks that the read model called due.
    pub due: usize,
    /// Those of them that this look escalated.
    pub escalated: usize,
}

/// Looks again and again until the application stops.
pub async fn run(api: Arc<Api>) {
    let mut stopping = api.stopping.clone();
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // An error means that the application is gone, which is the same.
            _ = stopping.wait_for(|stopping| *stopping) => return,
            _ = interval.tick() => {}
        }
        if let Err(error) = run_once(&api, Utc::now()).await {
            tracing::warn!(cause = causes(&error), "the timer could not look at what is due");
        }
    }
}

/// Escalates what is due at `now`, at most [`DUE_MAX`] tasks. One that fails is told in the log and tried again by the next look.
///
/// # Errors
/// When what is due cannot be read.
pub async fn run_once(api: &Api, now: DateTime<Utc>) -> Result<Look, ApiError> {
    let mut due = api.read_models.due_tasks(now, DUE_MAX).await?;
    let count = due.len();
    if count > 0 {
        // Nodes that look at the same moment begin at different places, so that they seldom meet.
        due.rotate_left(Uuid::new_v4().as_fields().0 as usize % count);
    }
    let escalated = stream::iter(due)
        .map(async |task| match escalate(api, &task, now).await {
            Ok(escalated) => usize::from(escalated),
            Err(error) => {
                let (tenant, submission) = (task.tenant.as_str(), task.submission_id);
                tracing::warn!(tenant, %submission, cause = causes(&error), "what is due could not be escalated");
                0
            }
        })
        .buffer_unordered(CONCURRENCY)
        .fold(0, async |sum, escalated| sum + escalated)
        .await;
    Ok(Look { due: count, escalated })
}

/// Lets a submission say what follows; nothing when somebody else was faster.
async fn escalate(api: &Api, task: &DueTask, now: DateTime<Utc>) -> Result<bool, ApiError> {
    let context = TenantContext::system(task.tenant.clone(), CORRELATION, now);
    let ledger = api.store.ledger(&context);
    let stream = context.stream::<Submission>(task.submission_id);
    let submission = fold(&ledger.load(&stream).await?)?;
    let pin = submission.pin().ok_or(ApiError::NotFound("submission"))?;
    let form = api.catalogue.pinned(&ledger, &context, pin).await?;
    let options = ExecuteOptions {
        expectation: Expectation::Any,
        idempotency: None,
        topic: topic(form.id()),
        // Nothing asks for it: there is no idempotency key.
        outcome: &|_, _| String::new(),
    };
    let command = SubmissionCommand::Escalate { form, now };
    match ledger.execute::<Submission>(&stream, command, &(), options).await {
        Ok(Executed::Now { events, .. }) => Ok(!events.is_empty()),
        Ok(Executed::Before(_)) => Ok(false),
        Err(ExecuteError::Refused(refusal)) => Err(refusal.into()),
        Err(ExecuteError::Append(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use formledger_domain::{Actor, FormCommand, FormId, SubmissionId, Tenant, TenantCommand};
    use formledger_domain::{Form, LedgerAggregate};
    use serde_json::{Value, json};

    use super::*;
    use crate::app::App;
    use crate::config::{AuthSettings, Settings, Storage};
    use crate::limits::Limits;

    const TASKS: usize = 300;

    fn start() -> DateTime<Utc> {
        "2026-02-26T10:00:00Z".parse().expect("a time")
    }

    fn context() -> TenantContext {
        let actor = Actor { subject: "sam".into(), roles: Arc::new([]) };
        TenantContext { actor, ..TenantContext::system("acme".parse().expect("a slug"), "test", start()) }
    }

    async fn execute<A: LedgerAggregate<Services = ()>>(api: &Api, id: &str, command: A::Command) {
        let context = context();
        let options = ExecuteOptions {
            expectation: Expectation::Any,
            idempotency: None,
            topic: None,
            outcome: &|_, _| String::new(),
        };
        let done =
            api.store.ledger(&context).execute::<A>(&context.stream::<A>(id), command, &(), options).await;
        assert!(done.is_ok(), "{:?}", done.err().map(|error| error.to_string()));
    }

    fn settings(data: &Path) -> Settings {
        let secret = Some("a secret that is long enough for HMAC-SHA-256".to_owned());
        Settings {
            listen: "127.0.0.1:0".parse().expect("an address"),
            storage: Storage::embedded(data),
            replicas: Vec::new(),
            auth: AuthSettings { jwt_secret: secret, ..AuthSettings::default() },
            provisioned_tenants: false,
            append_batch_max: 512,
            limits: Limits::default(),
        }
    }

    /// Submissions that are due a day after [`start`].
    async fn seeded(data: &Path) -> App {
        let app = App::build(settings(data)).await.expect("builds");
        let api = app.api();
        let definition: Value = json!({"title": "Claim", "schema": {"type": "object"}, "workflow": {
            "initial": "review", "transitions": [{"name": "close", "from": ["review", "late"], "to": "closed"}],
            "states": {"review": {"due": "P1D", "escalate": {"to": "late"}}, "late": {}, "closed": {"final": true}},
        }});
        let tenant: formledger_domain::TenantId = "acme".parse().expect("a slug");
        execute::<Tenant>(api, "acme", TenantCommand::Register { tenant }).await;
        let form: FormId = "claim".parse().expect("a form id");
        let save = FormCommand::SaveDraft { form: form.clone(), definition: Arc::new(definition) };
        execute::<Form>(api, "claim", save).await;
        execute::<Form>(api, "claim", FormCommand::Publish { form: form.clone() }).await;
        let compiled =
            api.catalogue.open(&api.store.ledger(&context()), &context(), &form).await.expect("open");
        let submissions = (0..TASKS).map(|_| {
            let (form, by) = (compiled.clone(), context().actor);
            let submit =
                SubmissionCommand::Submit { form, data: Arc::new(json!({})), draft: false, by, now: start() };
            let id = SubmissionId(Uuid::now_v7()).to_string();
            async move { execute::<Submission>(api, &id, submit).await }
        });
        stream::iter(submissions).buffer_unordered(CONCURRENCY).collect::<Vec<()>>().await;
        app.catch_up().await.expect("read models");
        app
    }

    #[tokio::test]
    async fn of_three_timers_at_the_same_moment_each_escalation_happens_once() {
        let data = tempfile::tempdir().expect("a directory");
        let app = seeded(data.path()).await;
        let api = app.api();
        let early = run_once(api, start()).await.expect("a look");
        assert_eq!(early, Look::default(), "nothing is due yet");
        let late = start() + chrono::TimeDelta::days(1);
        let looks = futures_util::future::join_all((0..3).map(|_| run_once(api, late))).await;
        let escalated: usize = looks.into_iter().map(|look| look.expect("a look").escalated).sum();
        assert_eq!(escalated, TASKS);
        // The read model has not heard of it: what it calls due has nothing left to do.
        assert_eq!(run_once(api, late).await.expect("a look"), Look { due: TASKS, escalated: 0 });
        app.catch_up().await.expect("read models");
        assert_eq!(run_once(api, late).await.expect("a look"), Look::default());
    }
}
