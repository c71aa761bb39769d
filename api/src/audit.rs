//! Records what a tenant wants audited: refused attempts, reads and exports, as events of the ledger in the name of who did it.
//! Called by `router` with every answer and by what exports; run by `app` for what is counted. What people sent is never recorded.
//!
//! A refusal is recorded before it is answered; when that fails, it is answered all the same and the log tells. An export that is to be
//! recorded and cannot be is not given out. Reads hold nothing up: they are counted, and recorded when their window ends.

mod folding;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use formledger_domain::{
    Audit, AuditCommand, AuditEvent, AuditSettings, Submission, SubmissionId, TenantContext,
};
use formledger_store::{ExecuteError, ExecuteOptions, Expectation, Part, StoreError, TenantLedger, causes};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use warp::reply::Response;

use crate::access::{Reach, Rule, Who};
use crate::app::Api;
use crate::error::ApiError;
use crate::head::Head;
use crate::ids;
use folding::{Fate, Folding, Kind, Noted};

/// How often it is looked for windows that are over.
const INTERVAL: Duration = Duration::from_secs(1);
/// Refusals of one submission that are recorded at once on this server: each waits for the one before, rather than to collide with it.
const LANES: usize = 16;
/// Bytes of a path that are kept.
const TARGET_BYTES_MAX: usize = 512;
/// The statuses that refuse somebody who is known: 401 is one when a good credential is too old for what it is used for.
const REFUSALS: [u16; 8] = [401, 403, 404, 409, 412, 413, 415, 422];

/// What is counted and not recorded yet.
pub struct AuditLog {
    folding: Mutex<Folding>,
    lanes: [tokio::sync::Mutex<()>; LANES],
}

impl AuditLog {
    /// Nothing is counted yet.
    pub fn new() -> Self {
        // A series that begins with its first loss shows no increase.
        metrics::counter!("formledger_audit_lost_total").increment(0);
        Self { folding: Mutex::default(), lanes: Default::default() }
    }

    fn folding(&self) -> MutexGuard<'_, Folding> {
        self.folding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What there may be to record of an answer; `None` for most, which costs nothing.
pub fn worth(rule: &Rule, handled: &Result<Response, ApiError>) -> Option<Kind> {
    match handled {
        _ if rule.who == Who::Anybody => None,
        Ok(_) => rule.discloses().then_some(Kind::Read),
        Err(error) => refusal(error),
    }
}

/// What there is to record of a refusal of somebody who was understood.
pub fn refusal(error: &ApiError) -> Option<Kind> {
    let problem = error.problem();
    let status = problem.status.as_u16();
    REFUSALS.contains(&status).then_some(Kind::Refused { code: problem.code, status })
}

impl Rule {
    /// Whether it shows what was submitted, now or by a replay. Exports do as well, and record themselves; files that are fetched are both,
    /// so that they are recorded where either is.
    fn discloses(&self) -> bool {
        let submitted = matches!(self.reach, Reach::Submission | Reach::FormFilter);
        let again = self.template.ends_with("/feed");
        (submitted || again) && self.method == "GET" && !self.template.starts_with("/v1/exports/")
    }
}

/// Records what an answer is about, where its tenant wants that: a refusal now, a read soon.
pub async fn note(api: &Api, head: &Head, rule: &Rule, kind: Kind) {
    let submission_id = match rule.reach {
        Reach::Submission => rule.parameter("id", head.uri.path()).and_then(|id| ids::read(&id)),
        _ => None,
    };
    note_about(api, head, rule, kind, submission_id).await;
}

/// As [`note`], of a request that does not name its submission in its path.
pub async fn note_about(
    api: &Api,
    head: &Head,
    rule: &Rule,
    kind: Kind,
    submission_id: Option<SubmissionId>,
) {
    // Who the handler took it to be, rather than asked again: the credential may have ended meanwhile, and what it did is to be recorded all the same.
    // Of a credential that never was good, nobody is known to have done anything.
    let Some(known) = head.known.get() else { return };
    let context = &TenantContext { now: Utc::now(), ..known.clone() };
    let system = TenantContext {
        causation_id: Some(Arc::clone(&head.request_id)),
        ..TenantContext::system(known.tenant.clone(), Arc::clone(&head.correlation_id), context.now)
    };
    let is_read = kind == Kind::Read;
    match settings(api, &api.store.ledger(&system), &system).await {
        Ok(AuditSettings { refusals, reads, .. }) if !(if is_read { reads } else { refusals }) => return,
        Ok(_) => {}
        Err(error) => return lost(context, 1, &causes(&error)),
    }
    let (action, target) = (action(rule), Some(cut(head.uri.path())));
    let noted = Noted { kind, action, target, submission_id, query: None };
    let fate = api.audit.folding().note(context, noted.clone(), !is_read, Instant::now());
    match fate {
        Fate::Folded => {}
        Fate::Dropped => lost(context, 1, &"too many people at once"),
        Fate::Apart => record_or_tell(api, context, vec![noted.event(1, context.now, context.now)]).await,
    }
}

/// Records an export before it is given out, where the tenant wants that: of many submissions, or of what the path names and belongs to one. Further
/// ones of the same within a few seconds are counted.
///
/// # Errors
/// When it is to be recorded and cannot be.
pub async fn exported(
    api: &Api,
    ledger: &TenantLedger,
    context: &TenantContext,
    (rule, head): (&Rule, &Head),
    submission_id: Option<SubmissionId>,
) -> Result<(), ApiError> {
    if !settings(api, ledger, context).await?.exports {
        return Ok(());
    }
    let target = submission_id.map_or(rule.template.into(), |_| cut(head.uri.path()));
    let query = head.uri.query().map(|query| Sha256::digest(query.as_bytes()).into());
    let noted =
        Noted { kind: Kind::Export, action: action(rule), target: Some(target), submission_id, query };
    if api.audit.folding().repeats(context, &noted) {
        return Ok(());
    }
    let at = Utc::now();
    record(api, context, vec![noted.clone().event(1, at, at)]).await?;
    api.audit.folding().recorded(context, noted, Instant::now());
    Ok(())
}

/// Records what was counted in windows that are over, until the application stops.
pub async fn run(api: Arc<Api>) {
    let mut stopping = api.stopping.clone();
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            // An error means that the application is gone, which is the same.
            _ = stopping.wait_for(|stopping| *stopping) => return,
            _ = interval.tick() => {}
        }
        flush(&api, Some(Instant::now())).await;
    }
}

/// Records what was counted in windows that are over at `now`, or everything, for the end.
pub async fn flush(api: &Api, now: Option<Instant>) {
    let folded = api.audit.folding().take(now);
    for folded in folded {
        record_or_tell(api, &folded.context, folded.events).await;
    }
}

async fn settings(
    api: &Api,
    ledger: &TenantLedger,
    context: &TenantContext,
) -> Result<AuditSettings, ApiError> {
    Ok(api.tenant_states.lately(ledger, context).await?.audit_settings())
}

/// As much of a path as is kept.
fn cut(path: &str) -> Arc<str> {
    path[..path.floor_char_boundary(TARGET_BYTES_MAX)].into()
}

fn action(rule: &Rule) -> Arc<str> {
    format!("{} {}", rule.method, rule.template).into()
}

async fn record_or_tell(api: &Api, context: &TenantContext, events: Vec<AuditEvent>) {
    let times = events.iter().map(|event| u64::from(event.about().times)).sum();
    if let Err(error) = record(api, context, events).await {
        lost(context, times, &causes(&error));
    }
}

fn lost(context: &TenantContext, times: u64, cause: &dyn std::fmt::Display) {
    metrics::counter!("formledger_audit_lost_total").increment(times);
    let (tenant, actor) = (context.tenant.as_str(), &*context.actor.subject);
    tracing::warn!(tenant, actor, times, %cause, "what was to be audited could not be recorded");
}

/// Appends facts of one actor: those about a submission to that submission's own stream of them, of which only the end is looked up, the others to a
/// new one.
async fn record(api: &Api, context: &TenantContext, events: Vec<AuditEvent>) -> Result<(), ApiError> {
    let ledger = api.store.ledger(context);
    let mut apart: Vec<AuditEvent> = Vec::new();
    for mut event in events {
        let found = match event.about().submission_id {
            Some(id) => Some((id, form_of(&ledger, context, id).await?)),
            None => None,
        };
        match found {
            Some((id, Some(form))) => {
                let _in_turn = api.audit.lanes[id.0.as_fields().1 as usize % LANES].lock().await;
                let stream = context.stream::<Audit>(id);
                append(&ledger, &stream, Expectation::Any, Some(form), vec![event]).await?;
            }
            _ => {
                event.forget_submission();
                apart.push(event);
            }
        }
    }
    if apart.is_empty() {
        return Ok(());
    }
    // A new stream each time: nothing has to be read first, and nobody collides.
    let stream = context.stream::<Audit>(Uuid::now_v7());
    append(&ledger, &stream, Expectation::NoStream, None, apart).await
}

/// The form of a submission, under which each of its events is filed; `None` when there is no such submission.
async fn form_of(
    ledger: &TenantLedger,
    context: &TenantContext,
    id: SubmissionId,
) -> Result<Option<Arc<str>>, StoreError> {
    let last = ledger.load_part(&context.stream::<Submission>(id), Part::Last).await?;
    Ok(last.first().and_then(|event| event.metadata.topic.clone()))
}

async fn append(
    ledger: &TenantLedger,
    stream: &formledger_domain::StreamId,
    expectation: Expectation,
    topic: Option<Arc<str>>,
    events: Vec<AuditEvent>,
) -> Result<(), ApiError> {
    let options = ExecuteOptions { expectation, idempotency: None, topic, basis: None, outcome: &|_, _| () };
    match ledger.execute::<Audit, _>(stream, AuditCommand::Record(events), &(), options).await {
        Ok(_) => Ok(()),
        Err(ExecuteError::Refused(never)) => match never {},
        Err(ExecuteError::Append(error)) => Err(error.into()),
    }
}
