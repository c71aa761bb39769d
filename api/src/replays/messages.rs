//! The feed of a replay: server-sent events in the form of `/v1/feed`, as far as the replay has come, then its summary, then the end.
//! A subscriber reads what it tells from the ledger, after the last `id` that it was sent; so it may be slow, leave, and come back.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use formledger_domain::{Backtest, OutcomeDifference, PastSubmission, Position};
use formledger_store::{EventFilter, causes};
use futures_util::{FutureExt, Stream};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::replay::{Kind, Progress, Replay};
use super::rules;
use super::shadow::Found;
use crate::app::Api;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::feed::{MESSAGE_END, Page, STILL_HERE, begin_message, end};
use crate::limits::{FEED_PAGE_BYTES_MAX, FEED_PAGE_EVENTS, REPLAY_CHUNK_POSITIONS};
use crate::metrics::Raised;
use crate::places::Place;
use crate::standbys::LedgerSource;

/// The type of the last message.
const SUMMARY: &str = "formledger.replay.summary.v1";
/// The type of a message about a submission that the candidate decides otherwise.
const OUTCOMES_CHANGED: &str = "formledger.replay.outcomes-changed.v1";

/// The type of a message about live and shadow rows that do not agree.
const DIFFERENCE: &str = "formledger.replay.difference.v1";
/// Differences that are sent at once.
const DIFFERENCES_AT_ONCE: usize = 64;

/// One open feed of a replay.
pub struct ReplayFeed {
    /// The application.
    pub api: Arc<Api>,
    /// The replay.
    pub replay: Arc<Replay>,
    /// Where its range is read.
    pub ledger: LedgerSource,
    /// Which events of a feed replay are wanted.
    pub filter: EventFilter,
    /// Everything up to here was sent, or is not wanted.
    pub after: Position,
    /// Who follows.
    pub caller: Caller,
}

/// A message that is no event of the ledger, in the same form.
#[derive(Serialize)]
struct Message<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: String,
    time: String,
    datacontenttype: &'static str,
    tenant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    actor: &'a str,
    correlationid: String,
    data: Value,
}

/// What all messages of one replay have in common.
struct Source {
    replay: Arc<Replay>,
}

/// Where a message stands: the `id` that a client resumes after, and the position in the ledger that it is about, if any.
struct Spot(Position, Option<Position>);

impl ReplayFeed {
    /// Before the `id` of the first message.
    pub fn start(replay: &Replay) -> Position {
        match replay.order.kind {
            Kind::Feed(_) | Kind::Rules(_) => Position(replay.order.from.0 - 1),
            // Differences have no position; they are counted.
            Kind::Shadow(_) => Position::START,
        }
    }

    /// The last `id` that there is anything behind to tell: where the range ends, or how many differences were found.
    pub fn end(replay: &Replay, progress: &Progress) -> Position {
        match replay.order.kind {
            Kind::Feed(_) | Kind::Rules(_) => replay.order.to,
            Kind::Shadow(_) => told(replay, progress),
        }
    }

    /// The `id` of the summary, which stands behind all others, so that a client that saw it and comes back is told that it has everything;
    /// `None` as long as the replay has not ended.
    pub fn summary_id(replay: &Replay, progress: &Progress) -> Option<Position> {
        progress.status.has_ended().then(|| Self::end(replay, progress).next())
    }

    /// The messages. They end after the summary; before it when the application stops, when the credential ends, or when the ledger cannot be read or lacks a
    /// position.
    pub fn messages(mut self, place: Place) -> impl Stream<Item = Result<Bytes, ApiError>> + Send {
        let open = Raised::new(&self.api.metrics.feeds);
        let mut followed = self.replay.follow();
        async_stream::try_stream! {
            let _held_while_open = (place, open);
            let end = end(self.api.stopping.clone(), self.caller.lasts());
            tokio::pin!(end);
            let heartbeat = self.api.settings.limits.feed_heartbeat;
            let mut sent = Instant::now();
            yield Bytes::from(format!(": start after position {}\n\n", self.after));
            loop {
                let progress = followed.borrow_and_update().clone();
                while self.after < told(&self.replay, &progress) {
                    if (&mut end).now_or_never().is_some() || !self.is_let_in().await? {
                        return;
                    }
                    let chunk = match self.read(&progress).await {
                        Ok(chunk) => chunk,
                        Err(error) => {
                            let (tenant, replay, after) = (self.replay.tenant.as_str(), self.replay.id, self.after.0);
                            let cause = causes(&error);
                            tracing::error!(tenant, %replay, after, cause, "the feed of a replay ends, because the ledger cannot be read");
                            // An end and not an error, with which hyper would throw away what was sent but not written yet.
                            return;
                        }
                    };
                    if !chunk.is_empty() {
                        yield chunk;
                        sent = Instant::now();
                    } else if sent.elapsed() >= heartbeat {
                        yield Bytes::from_static(STILL_HERE);
                        sent = Instant::now();
                    }
                }
                if progress.status.has_ended() {
                    if self.is_let_in().await? {
                        yield self.summary();
                    }
                    return;
                }
                tokio::select! {
                    () = &mut end => return,
                    () = moved(&mut followed) => {}
                    () = tokio::time::sleep_until(sent + heartbeat) => {
                        yield Bytes::from_static(STILL_HERE);
                        sent = Instant::now();
                    }
                }
            }
        }
    }

    /// Whether the credential is good still; an API key may have been revoked meanwhile.
    async fn is_let_in(&self) -> Result<bool, ApiError> {
        let Some(key) = self.caller.api_key else { return Ok(true) };
        // Never of a standby, which may not know yet that the key was revoked.
        let ledger = self.api.store.ledger(&self.caller.context);
        let tenant = self.api.tenant_states.of(&ledger, &self.caller.context).await?;
        Ok(tenant.api_key(key).is_some_and(|key| key.is_good_at(Utc::now())))
    }

    /// The messages of the next positions, as far as the replay has come; empty where there is nothing to tell.
    async fn read(&mut self, progress: &Progress) -> Result<Bytes, ApiError> {
        let reached = progress.position;
        match &self.replay.order.kind {
            Kind::Feed(_) => {
                // Not a page that feeds share: those are for many who read the same, and whole.
                let wanted = FEED_PAGE_EVENTS.min((reached.0 - self.after.0) as usize);
                let page = self.ledger.read_next(self.after, wanted, FEED_PAGE_BYTES_MAX).await?;
                let page = Page::render(page);
                self.after = page.last().max(self.after);
                let (chunk, events) = page.wanted(&self.filter);
                self.api.metrics.feed_events.increment(events);
                Ok(chunk)
            }
            Kind::Rules(backtest) => {
                let part = (self.after.next(), reached.min(Position(self.after.0 + REPLAY_CHUNK_POSITIONS)));
                let chunk = self.changes(&Arc::clone(backtest), part).await?;
                self.after = part.1;
                Ok(chunk)
            }
            Kind::Shadow(_) => {
                let source = Source { replay: Arc::clone(&self.replay) };
                let mut text = Vec::new();
                for found in progress.found.iter().skip(self.after.0 as usize).take(DIFFERENCES_AT_ONCE) {
                    self.after = self.after.next();
                    source.write_difference(self.after, found, &mut text);
                }
                Ok(text.into())
            }
        }
    }

    /// What the candidate decides otherwise in a part.
    async fn changes(&self, backtest: &Arc<Backtest>, part: (Position, Position)) -> Result<Bytes, ApiError> {
        let source = Source { replay: Arc::clone(&self.replay) };
        let tell = move |text: &mut Vec<u8>, past: &PastSubmission, found: Option<&[OutcomeDifference]>| {
            if let Some(changes @ [_, ..]) = found {
                source.write_changes(past, changes, text);
            }
        };
        let cores = &self.api.replays.cores;
        rules::fold_part(cores, &self.ledger, backtest, part, tell).await.map(Bytes::from)
    }

    fn summary(&self) -> Bytes {
        let shown = self.replay.shown();
        let source = Source { replay: Arc::clone(&self.replay) };
        let last = Self::summary_id(&self.replay, &self.replay.progress());
        let last = last.expect("a summary is told at the end");
        let (position, at) = (last, self.replay.ended_at().unwrap_or_default());
        let subject = format!("replays/{}", self.replay.id);
        let mut text = Vec::new();
        source.write(Spot(position, None), at, SUMMARY, subject, shown, &mut text);
        text.into()
    }
}

impl Source {
    fn write_changes(&self, past: &PastSubmission, changes: &[OutcomeDifference], out: &mut Vec<u8>) {
        let data = json!({
            "submission_id": past.submission, "form_version": past.form_version, "changes": changes,
        });
        let subject = format!("submissions/{}", past.submission);
        self.write(Spot(past.position, Some(past.position)), past.at, OUTCOMES_CHANGED, subject, data, out);
    }

    fn write_difference(&self, number: Position, found: &Found, out: &mut Vec<u8>) {
        let subject = format!("replays/{}", self.replay.id);
        self.write(Spot(number, None), Utc::now(), DIFFERENCE, subject, json!(found), out);
    }

    fn write(
        &self,
        Spot(id, position): Spot,
        at: DateTime<Utc>,
        kind: &'static str,
        subject: String,
        data: Value,
        out: &mut Vec<u8>,
    ) {
        let Replay { id: replay, tenant, created_by, .. } = &*self.replay;
        let message = Message {
            specversion: "1.0",
            id: message_id(replay, id),
            source: format!("urn:formledger:tenant:{tenant}:replay:{replay}"),
            kind,
            subject,
            time: at.to_rfc3339_opts(SecondsFormat::Micros, true),
            datacontenttype: "application/json",
            tenant: tenant.as_str(),
            position: position.map(|position| position.to_string()),
            actor: created_by,
            correlationid: replay.to_string(),
            data,
        };
        begin_message(id.0, kind, out);
        serde_json::to_writer(&mut *out, &message).expect("strings and JSON go into memory");
        out.extend_from_slice(MESSAGE_END);
    }
}

/// Up to which `id` there is something to tell.
fn told(replay: &Replay, progress: &Progress) -> Position {
    match replay.order.kind {
        Kind::Feed(_) | Kind::Rules(_) => progress.position,
        Kind::Shadow(_) => Position(progress.found.len() as u64),
    }
}

/// Unique within the source, and the same when the message is sent again.
fn message_id(replay: &Uuid, id: Position) -> String {
    format!("{replay}/{id}")
}

/// Ready when the replay has changed.
async fn moved(followed: &mut watch::Receiver<Progress>) {
    // The sender lives as long as the feed's own replay.
    let _ = followed.changed().await;
}
