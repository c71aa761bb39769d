//! How processes hear of each other's appends: one `NOTIFY` per batch at most, and behind it a poll that nothing can lose.
//! Rung by the writing side after a commit; tells the process's followers. A signal, never data: positions are read from the heads.
//!
//! Bell and commit are apart on purpose. Inside the transaction a `NOTIFY` takes a lock on the whole server until the commit is synced, so
//! that no two processes commit at once; after it, batches share one, and a signal lost with a crash is found by the poll.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use formledger_domain::{Position, TenantId};
use sqlx::Row;
use sqlx::postgres::{PgListener, PgNotification, PgPool, PgPoolOptions, PgRow};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::error::{answered, failed};
use super::lineage::Lineage;
use super::read::PostgresReader;
use super::{CONNECT_TIMEOUT, PostgresOptions};
use crate::error::{StoreError, causes};
use crate::followers::Followers;
use crate::store::StoreSettings;
use crate::writer::POLL_INTERVAL;

const CHANNEL: &str = "formledger_ledgers";
/// Bytes of a notification, of which Postgres takes 7,999. When a batch moves more ledgers than their names fit, it says "any of them".
const PAYLOAD_BYTES_MAX: usize = 7_900;
const ANY_LEDGER: &str = "*";
/// Between two notifications, so that small batches do not ring two hundred times a second and more.
const RING_INTERVAL: Duration = Duration::from_millis(5);
/// The longest that a poll trusts the server's log to say that nothing was committed: what waits for a synchronous standby stands in the log
/// before anybody can read it.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// Between two attempts to listen; the poll goes on meanwhile.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// The writing side's end of the bell.
#[derive(Debug)]
pub(super) struct Bell {
    /// Present until [`Bell::follow`].
    ringer: Option<Ringer>,
    rung: Arc<Rung>,
    task: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Rung {
    heads: Mutex<Heads>,
    ring: Notify,
}

#[derive(Debug, Default)]
struct Heads {
    /// What followers here know; a poll tells them what differs.
    told: HashMap<TenantId, Position>,
    /// What was committed here, and other processes have to hear.
    committed: Vec<TenantId>,
    /// Whether followers may know less than `told` says.
    tell_all: bool,
    /// The era in which it was told.
    era: u64,
    /// Ledgers that the last poll read at a lower position than they were told to be, which is here.
    behind: HashMap<TenantId, Position>,
}

impl Heads {
    /// What followers have to be told of what was read. Of a new era they know nothing.
    fn news(&mut self, read: Vec<(TenantId, Position)>, era: u64, is_all: bool) -> Vec<(TenantId, Position)> {
        let tell_all = is_all && std::mem::take(&mut self.tell_all);
        if self.era != era {
            (self.told, self.era) = (HashMap::new(), era);
        }
        let is_news = |(tenant, position): &(TenantId, Position)| {
            tell_all || self.told.get(tenant).is_none_or(|told| told < position)
        };
        let news: Vec<_> = read.into_iter().filter(is_news).collect();
        self.told.extend(news.iter().cloned());
        news
    }

    /// Whether a ledger ends before a position that was told before the last poll, too. What was told since may be newer than what was read.
    fn went_back(&mut self, read: &[(TenantId, Position)]) -> bool {
        let went_back =
            read.iter().any(|(tenant, position)| self.behind.get(tenant).is_some_and(|told| position < told));
        let behind = |(tenant, position): &(TenantId, Position)| {
            let told = self.told.get(tenant).filter(|told| position < *told)?;
            Some((tenant.clone(), *told))
        };
        self.behind = read.iter().filter_map(behind).collect();
        went_back
    }
}

/// What the last look at all ledgers was made of, so that a server where nothing happens is not asked for all of them twice a second.
#[derive(Debug, Default)]
struct LastLook(Option<(String, Instant)>);

impl LastLook {
    /// Whether all ledgers have to be read, when the server's log is written up to `log`.
    fn is_old(&self, log: Option<&str>, now: Instant) -> bool {
        match (&self.0, log) {
            (Some((seen, at)), Some(log)) => seen != log || now.duration_since(*at) >= LOOK_INTERVAL_MAX,
            _ => true,
        }
    }
}

impl Rung {
    /// Whether the next look at all ledgers is owed to somebody, whatever the log says.
    fn wants_look(&self) -> bool {
        let heads = self.heads();
        heads.tell_all || !heads.behind.is_empty()
    }

    /// A panic elsewhere leaves complete entries.
    fn heads(&self) -> MutexGuard<'_, Heads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bell {
    /// Reads where the ledgers are: followers are told of what moves from now on.
    pub(super) async fn new(options: &PostgresOptions, lineage: Arc<Lineage>) -> Result<Self, StoreError> {
        let settings = StoreSettings { read_connections_max: 1, ..StoreSettings::default() };
        let reader = PostgresReader::new(&options.database, &settings);
        lineage.saw(&reader.lineage().await?)?;
        let told = reader.positions(None).await?.into_iter().collect();
        let rung =
            Arc::new(Rung { heads: Mutex::new(Heads { told, ..Heads::default() }), ring: Notify::new() });
        let listening =
            PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT_TIMEOUT).idle_timeout(None);
        let ringer = Ringer {
            node: Uuid::now_v7().simple().to_string(),
            reader,
            listening: listening.connect_lazy_with(options.listen.clone()),
            rung: rung.clone(),
            lineage,
        };
        Ok(Self { ringer: Some(ringer), rung, task: None })
    }

    /// Tells `followers` of other processes' appends from now on.
    pub(super) fn follow(&mut self, followers: &Followers) {
        if let Some(ringer) = self.ringer.take() {
            self.task = Some(tokio::spawn(ringer.run(followers.clone())));
        }
    }

    /// These ledgers were committed here; followers in this process know.
    pub(super) fn ring(&self, committed: Vec<(TenantId, Position)>) {
        if self.task.is_none() {
            return;
        }
        let mut heads = self.rung.heads();
        heads.committed.extend(committed.iter().map(|(tenant, _)| tenant.clone()));
        heads.told.extend(committed);
        drop(heads);
        self.rung.ring.notify_one();
    }

    /// Followers here may not have heard of everything: the next poll tells them of every ledger.
    pub(super) fn forget(&self) {
        self.rung.heads().tell_all = true;
    }

    pub(super) async fn close(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // Aborted or ended, it holds no connection any more.
            drop(task.await);
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The task behind the bell.
#[derive(Debug)]
struct Ringer {
    /// Tells own notifications from others'.
    node: String,
    reader: PostgresReader,
    listening: PgPool,
    rung: Arc<Rung>,
    lineage: Arc<Lineage>,
}

impl Ringer {
    async fn run(self, followers: Followers) {
        let mut listener: Option<PgListener> = None;
        let (mut listen_at, mut poll_at) = (Instant::now(), Instant::now() + POLL_INTERVAL);
        let (mut rung, mut ring_at) = (false, Instant::now());
        let mut last_look = LastLook::default();
        loop {
            if listener.is_none() && listen_at <= Instant::now() {
                listener = self.listen().await;
                listen_at = Instant::now() + LISTEN_AGAIN_AFTER;
            }
            tokio::select! {
                heard = hear(&mut listener) => match heard {
                    Ok(Some(notification)) => self.heard(notification, listener.as_mut(), &followers).await,
                    // The listener connects again by itself; what was rung meanwhile is for the poll.
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(error = causes(&error), "no longer hears of other processes' appends at once");
                        listener = None;
                    }
                },
                () = self.rung.ring.notified() => rung = true,
                () = sleep_until(ring_at), if rung => {
                    self.tell(listener.as_mut()).await;
                    rung = false;
                    ring_at = Instant::now() + RING_INTERVAL;
                }
                () = sleep_until(poll_at) => {
                    self.poll(&followers, &mut last_look).await;
                    poll_at = Instant::now() + POLL_INTERVAL;
                }
            }
        }
    }

    async fn listen(&self) -> Option<PgListener> {
        let listening = async {
            let mut listener = PgListener::connect_with(&self.listening).await?;
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        answered(listening)
            .await
            .inspect_err(|error| {
                tracing::warn!(
                    error = causes(error),
                    "cannot hear of other processes' appends at once; polling"
                )
            })
            .ok()
    }

    /// Looks at everything: which history this is, and, unless nothing was written there, where its ledgers are.
    async fn poll(&self, followers: &Followers, last: &mut LastLook) {
        // Before the ledgers are read: what is written meanwhile is looked at the next time.
        let log = match self.reader.lineage().await {
            Ok(answer) => self.log_of(&answer),
            Err(error) => {
                tracing::warn!(error = causes(&error), "cannot tell which history the database has");
                None
            }
        };
        let now = Instant::now();
        if !last.is_old(log.as_deref(), now) && !self.rung.wants_look() {
            return;
        }
        last.0 = if self.look(None, followers).await { log.map(|log| (log, now)) } else { None };
    }

    /// How far the log is written, from a row of [`super::lineage::ASK`].
    fn log_of(&self, answer: &PgRow) -> Option<String> {
        let told = self.lineage.saw(answer).and_then(|()| answer.try_get(1));
        told.unwrap_or_else(|error| {
            tracing::warn!(error = causes(&error), "cannot tell which history the database has");
            None
        })
    }

    /// Looks where the ledgers are that another process named, and those of all notifications that wait behind it.
    async fn heard(&self, first: PgNotification, listener: Option<&mut PgListener>, followers: &Followers) {
        let mut payloads = vec![first.payload().to_owned()];
        if let Some(listener) = listener {
            payloads.extend(
                std::iter::from_fn(|| listener.next_buffered()).map(|next| next.payload().to_owned()),
            );
        }
        let of_others = payloads.iter().filter_map(|payload| {
            let (node, ledgers) = payload.split_once(' ')?;
            (node != self.node).then_some(ledgers)
        });
        let mut ledgers: Vec<&str> = of_others.flat_map(|ledgers| ledgers.split(' ')).collect();
        if ledgers.is_empty() {
            return;
        }
        ledgers.sort_unstable();
        ledgers.dedup();
        let any = ledgers.contains(&ANY_LEDGER);
        self.look((!any).then_some(&ledgers), followers).await;
    }

    /// Tells followers here what moved; `false` when it could not look.
    async fn look(&self, ledgers: Option<&[&str]>, followers: &Followers) -> bool {
        let began = std::time::Instant::now();
        let heads = match self.reader.positions(ledgers).await {
            Ok(heads) => heads,
            Err(error) => {
                tracing::warn!(error = causes(&error), "cannot look for other processes' appends");
                return false;
            }
        };
        let set_back = ledgers.is_none() && self.rung.heads().went_back(&heads);
        if set_back {
            self.lineage.set_back();
        }
        let moved = self.rung.heads().news(heads, self.lineage.era(), ledgers.is_none());
        followers.elsewhere.moved(moved.iter().map(|(tenant, _)| tenant));
        if ledgers.is_none() {
            followers.elsewhere.looked(began);
        }
        followers.wake.announce(&moved);
        true
    }

    /// Tells other processes what was committed here. Without a connection they poll.
    async fn tell(&self, listener: Option<&mut PgListener>) {
        let committed = std::mem::take(&mut self.rung.heads().committed);
        let Some(listener) = listener else { return };
        let notify =
            sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(payload(&self.node, committed));
        if let Err(error) = answered(notify.execute(listener)).await {
            tracing::warn!(
                error = causes(&failed(error)),
                "cannot tell other processes of appends; they poll"
            );
        }
    }
}

/// Waits for ever where nobody listens.
async fn hear(listener: &mut Option<PgListener>) -> Result<Option<PgNotification>, sqlx::Error> {
    match listener {
        Some(listener) => listener.try_recv().await,
        None => std::future::pending().await,
    }
}

/// `<node> <tenant> <tenant> …`; a tenant's name holds no space.
fn payload(node: &str, mut committed: Vec<TenantId>) -> String {
    committed.sort_unstable();
    committed.dedup();
    let mut payload = node.to_owned();
    for tenant in &committed {
        payload.push(' ');
        payload.push_str(tenant.as_str());
        if payload.len() > PAYLOAD_BYTES_MAX {
            return format!("{node} {ANY_LEDGER}");
        }
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_where_nothing_is_written_is_asked_for_all_ledgers_seldom() {
        let now = Instant::now();
        assert!(LastLook::default().is_old(Some("0/10"), now), "nobody looked yet");
        let last = LastLook(Some(("0/10".to_owned(), now)));
        assert!(!last.is_old(Some("0/10"), now + POLL_INTERVAL));
        assert!(last.is_old(Some("0/18"), now + POLL_INTERVAL), "something was written");
        assert!(last.is_old(None, now + POLL_INTERVAL), "the server does not tell");
        assert!(last.is_old(Some("0/10"), now + LOOK_INTERVAL_MAX), "a commit may have waited for a standby");
    }

    #[test]
    fn a_look_is_owed_to_followers_that_forgot_and_to_ledgers_that_went_back() {
        let rung = Rung::default();
        assert!(!rung.wants_look());
        rung.heads().tell_all = true;
        assert!(rung.wants_look());
        let rung = Rung::default();
        let tenant: TenantId = "acme".parse().expect("a slug");
        rung.heads().told.insert(tenant.clone(), Position(5));
        assert!(!rung.heads().went_back(&[(tenant, Position(4))]), "once may be a race");
        assert!(rung.wants_look());
    }
}
