//! One replay: what was asked for, how far it has come, and what it found. Shared by the task that runs it, the requests that look at it and
//! its feeds; whoever changes something tells all of them. In memory only: a replay can be repeated, so a restart forgets it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use formledger_domain::{Backtest, Position, TenantId};
use formledger_projections::ReadModel;
use formledger_store::Idempotency;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::auth::role;
use crate::error::ApiError;
use crate::limits::REPLAY_PAUSE_MAX;
use crate::replays::pace::Speed;
use crate::replays::shadow::Found;

/// What is done with the range.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Its events come in the replay's feed, at recorded spacing divided by the speed.
    Feed(Speed),
    /// Candidate rules judge its submissions.
    Rules(Arc<Backtest>),
    /// These read models are built beside the live ones and compared with them.
    Shadow(Vec<ReadModel>),
}

/// The kinds of replays, as bodies and answers name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KindName {
    /// [`Kind::Feed`]
    Feed,
    /// [`Kind::Rules`]
    Rules,
    /// [`Kind::Shadow`]
    Shadow,
}

impl Kind {
    /// Its name.
    pub fn name(&self) -> KindName {
        match self {
            Self::Feed(_) => KindName::Feed,
            Self::Rules(_) => KindName::Rules,
            Self::Shadow(_) => KindName::Shadow,
        }
    }
}

impl KindName {
    /// The roles that may begin and direct such replays.
    pub fn roles(self) -> &'static [&'static str] {
        match self {
            Self::Feed | Self::Shadow => &[role::ADMIN, role::AUDITOR],
            Self::Rules => &[role::ADMIN, role::AUDITOR, role::DESIGNER],
        }
    }
}

/// A range of a ledger and what to do with it.
#[derive(Debug, Clone)]
pub struct Order {
    /// What to do.
    pub kind: Kind,
    /// The first position.
    pub from: Position,
    /// The last position, not before the first.
    pub to: Position,
}

/// How a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It goes on.
    Running,
    /// It waits to be resumed.
    Paused,
    /// It came to the end of its range.
    Done,
    /// Somebody ended it, or it was paused for too long, or the server stopped.
    Cancelled,
    /// It could not go on.
    Failed,
}

impl Status {
    /// Whether nothing more happens.
    pub fn has_ended(self) -> bool {
        !matches!(self, Self::Running | Self::Paused)
    }
}

/// What changes while a replay runs.
#[derive(Debug, Clone)]
pub struct Progress {
    /// How it stands.
    pub status: Status,
    /// Everything up to here is done.
    pub position: Position,
    /// What was found so far, in the shape of its kind.
    pub summary: Option<Arc<Value>>,
    /// The differences of a shadow, once it was compared.
    pub found: Arc<[Found]>,
    /// Why it failed: a stable code and a sentence.
    failure: Option<(&'static str, String)>,
    ended_at: Option<DateTime<Utc>>,
    /// When the range will be through, where the recorded times say so.
    due: Option<Instant>,
    /// How long it ran before `running_since`.
    ran: Duration,
    running_since: Instant,
    paused_since: Instant,
}

/// One replay.
#[derive(Debug)]
pub struct Replay {
    /// Its id.
    pub id: Uuid,
    /// Whose ledger.
    pub tenant: TenantId,
    /// What was asked for.
    pub order: Order,
    /// The key of the request that began it.
    pub idempotency: Option<Idempotency>,
    /// Who began it.
    pub created_by: Arc<str>,
    created_at: DateTime<Utc>,
    progress: watch::Sender<Progress>,
}

impl Replay {
    /// A replay that begins now.
    pub fn new(
        tenant: TenantId,
        created_by: Arc<str>,
        order: Order,
        idempotency: Option<Idempotency>,
    ) -> Self {
        let progress = Progress {
            status: Status::Running,
            position: Position(order.from.0 - 1),
            summary: None,
            found: Arc::default(),
            failure: None,
            ended_at: None,
            due: None,
            ran: Duration::ZERO,
            running_since: Instant::now(),
            paused_since: Instant::now(),
        };
        Self {
            id: Uuid::now_v7(),
            tenant,
            order,
            idempotency,
            created_by,
            created_at: Utc::now(),
            progress: watch::Sender::new(progress),
        }
    }

    /// How it stands now, and a signal each time that changes.
    pub fn follow(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// How it stands now.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// When it ended; `None` while it has not.
    pub fn ended_at(&self) -> Option<DateTime<Utc>> {
        self.progress.borrow().ended_at
    }

    /// Waits while it is paused; answers whether it goes on. One that is paused for too long is cancelled.
    pub async fn goes_on(&self) -> bool {
        let mut followed = self.follow();
        let resumed = followed.wait_for(|progress| progress.status != Status::Paused);
        match tokio::time::timeout(REPLAY_PAUSE_MAX, resumed).await {
            // The sender lives as long as this replay.
            Ok(progress) => progress.is_ok_and(|progress| progress.status == Status::Running),
            Err(_) => {
                self.end(Status::Cancelled);
                false
            }
        }
    }

    /// Everything up to `position` is done now, and `summary` was found so far.
    pub fn advance(&self, position: Position, summary: Option<Value>) {
        self.change(|progress| {
            progress.position = position;
            if let Some(summary) = summary {
                progress.summary = Some(Arc::new(summary));
            }
        });
    }

    /// The comparison found this.
    pub fn tell(&self, found: Vec<Found>, summary: Value) {
        self.change(|progress| {
            progress.found = found.into();
            progress.summary = Some(Arc::new(summary));
        });
    }

    /// The range will be through at `due`.
    pub fn expect_end(&self, due: Instant) {
        self.change(|progress| progress.due = Some(due));
    }

    /// Holds it where it is; one that is paused stays so.
    ///
    /// # Errors
    /// 409 when it has ended.
    pub fn pause(&self) -> Result<(), ApiError> {
        self.command(Status::Paused)
    }

    /// Lets it go on; one that runs does so anyway.
    ///
    /// # Errors
    /// 409 when it has ended.
    pub fn resume(&self) -> Result<(), ApiError> {
        self.command(Status::Running)
    }

    /// Ends it; one that was cancelled stays so.
    ///
    /// # Errors
    /// 409 when it has ended otherwise.
    pub fn cancel(&self) -> Result<(), ApiError> {
        self.command(Status::Cancelled)
    }

    fn command(&self, status: Status) -> Result<(), ApiError> {
        if self.change(|progress| progress.become_now(status)) || self.progress.borrow().status == status {
            return Ok(());
        }
        let detail = format!("the replay has ended: it is `{}`", json!(self.progress.borrow().status));
        Err(ApiError::Conflict { code: "replay-ended", detail: detail.replace('"', "") })
    }

    /// Ends it with `status`, unless it has ended already.
    pub fn end(&self, status: Status) {
        self.change(|progress| progress.become_now(status));
    }

    /// Ends it because of a failure, of which clients see what they would see of a request that failed so.
    pub fn fail(&self, error: &ApiError) {
        let problem = error.problem();
        self.change(|progress| {
            progress.failure = Some((problem.code, error.to_string()));
            progress.become_now(Status::Failed);
        });
    }

    /// Changes what has not ended; answers whether it had not.
    fn change(&self, change: impl FnOnce(&mut Progress)) -> bool {
        self.progress.send_if_modified(|progress| {
            let goes_on = !progress.status.has_ended();
            if goes_on {
                change(progress);
            }
            goes_on
        })
    }

    /// What clients see of it.
    pub fn shown(&self) -> Value {
        let progress = self.progress();
        let Order { kind, from, to } = &self.order;
        let total = to.0 + 1 - from.0;
        // A shadow goes on to where the live rows are.
        let done = total.min(progress.position.0 + 1 - from.0);
        let mut shown = json!({
            "replay_id": self.id, "kind": kind.name(), "from": from, "to": to, "status": progress.status,
            "position": progress.position, "progress": {"done": done, "total": total},
            "rate": progress.rate(done), "created_at": time(self.created_at), "created_by": &*self.created_by,
        });
        let members = shown.as_object_mut().expect("written above");
        match kind {
            Kind::Feed(speed) => drop(members.insert("speed".to_owned(), json!(speed))),
            Kind::Rules(backtest) => drop(members.insert("form".to_owned(), json!(backtest.form()))),
            Kind::Shadow(read_models) => drop(members.insert("projections".to_owned(), json!(read_models))),
        }
        let mut insert = |name: &str, value: Option<Value>| {
            value.map(|value| members.insert(name.to_owned(), value));
        };
        insert("estimated_end", progress.estimated_end(done, total).map(time));
        insert("ended_at", progress.ended_at.map(time));
        insert("summary", progress.summary.as_deref().cloned());
        insert("error", progress.failure.map(|(code, detail)| json!({"code": code, "detail": detail})));
        shown
    }
}

/// With six digits behind the second, as all times are told.
fn time(at: DateTime<Utc>) -> Value {
    Value::String(at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

impl Progress {
    fn become_now(&mut self, status: Status) {
        if self.status == status {
            return;
        }
        let now = Instant::now();
        match (self.status, status) {
            (Status::Running, _) => {
                self.ran += now - self.running_since;
                self.paused_since = now;
            }
            _ => {
                // What is to come is due later by as long as nothing went on.
                self.due = self.due.map(|due| due + (now - self.paused_since));
                self.running_since = now;
            }
        }
        self.status = status;
        if status.has_ended() {
            self.ended_at = Some(Utc::now());
        }
    }

    /// Events a second since it began, pauses left out.
    fn rate(&self, done: u64) -> f64 {
        let now = if self.status == Status::Running { self.running_since.elapsed() } else { Duration::ZERO };
        let seconds = (self.ran + now).as_secs_f64();
        if seconds > 0.0 { (done as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
    }

    /// When it will be through; `None` when nobody can say, as while it is paused.
    fn estimated_end(&self, done: u64, total: u64) -> Option<DateTime<Utc>> {
        if self.status != Status::Running {
            return None;
        }
        let remaining = match self.due {
            Some(due) => due.saturating_duration_since(Instant::now()),
            None => Duration::try_from_secs_f64((total - done) as f64 / self.rate(done)).ok()?,
        };
        Utc::now().checked_add_signed(TimeDelta::from_std(remaining).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay() -> Replay {
        let order = Order { kind: Kind::Feed(Speed::Max), from: Position(3), to: Position(6) };
        Replay::new("acme".parse().expect("a slug"), "ada".into(), order, None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_counts_neither_for_the_rate_nor_for_the_end() {
        let replay = replay();
        tokio::time::advance(Duration::from_secs(2)).await;
        replay.advance(Position(4), None);
        replay.pause().expect("runs");
        assert_eq!(replay.shown().get("estimated_end"), None);
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(replay.shown()["rate"], 1.0);
        replay.resume().expect("is paused");
        assert!(replay.goes_on().await);
        let end = replay.progress().estimated_end(2, 4).expect("it runs");
        assert!((end - Utc::now() - TimeDelta::seconds(2)).abs() < TimeDelta::seconds(1), "{end}");
        assert_eq!(replay.shown()["progress"], json!({"done": 2, "total": 4}));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_pause_of_two_at_once_changes_nothing() {
        let replay = replay();
        let due = Instant::now() + Duration::from_secs(60);
        replay.expect_end(due);
        replay.pause().expect("runs");
        for seconds in [10, 20] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            replay.pause().expect("is paused");
        }
        replay.resume().expect("is paused");
        replay.resume().expect("runs");
        assert_eq!(replay.progress().due, Some(due + Duration::from_secs(30)), "the pause is counted once");
        // As the one does that was asked when the other was not through yet.
        replay.change(|progress| progress.become_now(Status::Paused));
        tokio::time::advance(Duration::from_secs(5)).await;
        replay.change(|progress| progress.become_now(Status::Paused));
        replay.resume().expect("is paused");
        assert_eq!(replay.progress().due, Some(due + Duration::from_secs(35)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_paused_for_too_long_gives_its_place_up() {
        let replay = replay();
        replay.pause().expect("runs");
        assert!(!replay.goes_on().await);
        assert_eq!(replay.progress().status, Status::Cancelled);
    }

    #[tokio::test]
    async fn what_has_ended_stays_as_it_ended() {
        let replay = replay();
        replay.advance(Position(6), None);
        replay.end(Status::Done);
        for refused in [replay.pause(), replay.resume(), replay.cancel()] {
            let error = refused.expect_err("it has ended");
            assert_eq!(
                (error.problem().code, &*error.to_string()),
                ("replay-ended", "the replay has ended: it is `done`")
            );
        }
        replay.advance(Position(7), None);
        assert_eq!(replay.shown()["position"], 6);
    }
}
