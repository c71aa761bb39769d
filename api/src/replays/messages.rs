//! The feed of a replay: server-sent events in the form of `/v1/feed`, as far as the replay has come, then its summary, then the end.
//! A subscriber reads what it tells from the ledger, after the last `id` that it was sent; so it may be slow, leave, and come back.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use formledger_domain::{Backtest, OutcomeDifference, PastSubmission, Position};
use formledger_store::{EventFilter, TenantLedger};
use futures_util::{FutureExt, Stream};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::replay::{Kind, Progress, Replay};
use super::rules;
use crate::app::Api;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::feed::{MESSAGE_END, STILL_HERE, begin_message, end};
use crate::limits::REPLAY_CHUNK_POSITIONS;
use crate::metrics::Raised;
use crate::places::Place;

/// The type of the last message.
const SUMMARY: &str = "formledger.replay.summary.v1";
/// The type of a message about a submission that the candidate decides otherwise.
const OUTCOMES_CHANGED: &str = "formledger.replay.outcomes-changed.v1";

/// One open feed of a replay.
pub struct ReplayFeed {
    /// The application.
    pub api: Arc<Api>,
    /// The replay.
    pub replay: Arc<Replay>,
    /// Its tenant's ledger.
    pub ledger: TenantLedger,
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
    position: String,
    actor: &'a str,
    correlationid: String,
    data: Value,
}

/// What all messages of one replay have in common.
#[derive(Clone)]
struct Source {
    replay: Arc<Replay>,
}

impl ReplayFeed {
    /// The `id` of the last message. The summary stands behind the range, so that a client that saw it and comes back is told that it has
    /// everything.
    pub fn last_id(replay: &Replay) -> Position {
        replay.order.to.next()
    }

    /// The messages. They end after the summary; before it when the application stops or the credential ends.
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
                while self.after < progress.position {
                    if (&mut end).now_or_never().is_some() || !self.is_let_in().await? {
                        return;
                    }
                    let chunk = self.read(progress.position).await?;
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
        let tenant = self.api.tenant_states.of(&self.ledger, &self.caller.context).await?;
        Ok(tenant.api_key(key).is_some_and(|key| key.is_good_at(Utc::now())))
    }

    /// The messages of the next positions, at most up to `reached`; empty where there is nothing to tell.
    async fn read(&mut self, reached: Position) -> Result<Bytes, ApiError> {
        match &self.replay.order.kind {
            Kind::Feed(_) => {
                let page = self.api.feed_pages.after(&self.replay.tenant, &self.ledger, self.after).await?;
                let (chunk, events) = page.wanted(&self.filter, reached);
                self.api.metrics.feed_events.increment(events);
                self.after = page.last().min(reached).max(self.after.next());
                Ok(chunk)
            }
            Kind::Rules(backtest) => {
                let part = (self.after.next(), reached.min(Position(self.after.0 + REPLAY_CHUNK_POSITIONS)));
                let chunk = self.changes(&Arc::clone(backtest), part).await?;
                self.after = part.1;
                Ok(chunk)
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
        let (position, at) = (Self::last_id(&self.replay), self.replay.ended_at().unwrap_or_default());
        let subject = format!("replays/{}", self.replay.id);
        let mut text = Vec::new();
        source.write(position, at, SUMMARY, subject, shown, &mut text);
        text.into()
    }
}

impl Source {
    fn write_changes(&self, past: &PastSubmission, changes: &[OutcomeDifference], out: &mut Vec<u8>) {
        let data = json!({
            "submission_id": past.submission, "form_version": past.form_version, "changes": changes,
        });
        let subject = format!("submissions/{}", past.submission);
        self.write(past.position, past.at, OUTCOMES_CHANGED, subject, data, out);
    }

    fn write(
        &self,
        position: Position,
        at: DateTime<Utc>,
        kind: &'static str,
        subject: String,
        data: Value,
        out: &mut Vec<u8>,
    ) {
        let Replay { id, tenant, created_by, .. } = &*self.replay;
        let message = Message {
            specversion: "1.0",
            id: message_id(id, position),
            source: format!("urn:formledger:tenant:{tenant}:replay:{id}"),
            kind,
            subject,
            time: at.to_rfc3339_opts(SecondsFormat::Micros, true),
            datacontenttype: "application/json",
            tenant: tenant.as_str(),
            position: position.to_string(),
            actor: created_by,
            correlationid: id.to_string(),
            data,
        };
        begin_message(position.0, kind, out);
        serde_json::to_writer(&mut *out, &message).expect("strings and JSON go into memory");
        out.extend_from_slice(MESSAGE_END);
    }
}

/// Unique within the source, and the same when the message is sent again.
fn message_id(replay: &Uuid, position: Position) -> String {
    format!("{replay}/{position}")
}

/// Ready when the replay has changed.
async fn moved(followed: &mut watch::Receiver<Progress>) {
    // The sender lives as long as the feed's own replay.
    let _ = followed.changed().await;
}
