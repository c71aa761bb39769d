//! The one task that appends: takes what queued while the last batch committed, records it in one transaction, answers.
//! Started by `Store`; the same for every database, which it only knows as a [`Backend`]. It never decides for the business.

mod answers;
mod command;
mod confirm;
mod descriptions;
mod plan;
mod stuck;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use formledger_domain::{Position, Sequence, StreamId, TenantId};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use answers::{fail, is_repeat, refuse, refuse_outdated, refuse_stuck, settle};
pub(crate) use command::Command;
pub(crate) use confirm::Confirmation;
pub(crate) use plan::replay;
use plan::{Facts, Plan, plan};
use stuck::Stuck;

use crate::backend::{Applied, Backend, Batch, EventRow, Head, StoredHead};
use crate::error::{StoreError, causes};
use crate::followers::Followers;
use crate::progress::Progress;
use crate::room::Room;

/// How often the writer looks for appends of other processes, and forgets followers that left.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How often one batch is planned again because another process was faster; then its commands fail with [`StoreError::Busy`].
const BATCH_ATTEMPTS_MAX: usize = 16;
/// Ledgers whose heads are kept in memory, about 1 KB each; at the limit all are forgotten and read again when needed.
const HEADS_CACHED_MAX: usize = 65_536;
/// Ledgers remembered as moved by others, about 50 bytes each; at the limit all are forgotten, and known again when they are lost to somebody once more.
const CONTENDED_MAX: usize = 65_536;

/// Limits of one transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    pub(crate) commands_max: usize,
    /// Reached by the last command: a larger one is a transaction of its own.
    pub(crate) bytes_max: usize,
}

/// Owns the writing connection and the newest known heads.
pub(crate) struct Writer<B> {
    backend: B,
    queue: mpsc::Receiver<Command>,
    confirmations: mpsc::Receiver<Confirmation>,
    stop: Arc<Notify>,
    followers: Followers,
    batch: BatchLimits,
    room: Arc<Room>,
    progress: Arc<Progress>,
    /// Heads as of this process's last commit or read. A wrong one is found by compare-and-set.
    heads: HashMap<TenantId, Head>,
    /// Ledgers that another process moved since this one last appended. Their heads are held while a batch is planned, because to plan on
    /// what was read and lose the race could happen time after time.
    contended: HashSet<TenantId>,
    stuck: Stuck,
}

impl<B: Backend> Writer<B> {
    pub(crate) fn new(
        backend: B,
        (queue, confirmations): (mpsc::Receiver<Command>, mpsc::Receiver<Confirmation>),
        stop: Arc<Notify>,
        followers: Followers,
        (batch, room, progress): (BatchLimits, Arc<Room>, Arc<Progress>),
    ) -> Self {
        let (heads, contended, stuck) = (HashMap::new(), HashSet::new(), Stuck::default());
        Self {
            backend,
            queue,
            confirmations,
            stop,
            followers,
            batch,
            room,
            progress,
            heads,
            contended,
            stuck,
        }
    }

    /// Runs until the queue is closed and empty, then closes the connection.
    pub(crate) async fn run(mut self) {
        descriptions::describe();
        self.backend.follow(&self.followers);
        let mut next_poll = Instant::now() + POLL_INTERVAL;
        let stop = self.stop.clone();
        loop {
            let mut commands = Vec::with_capacity(self.batch.commands_max.min(self.queue.len().max(1)));
            tokio::select! {
                biased;
                () = stop.notified() => self.queue.close(),
                taken = timeout_at(next_poll, self.queue.recv_many(&mut commands, self.batch.commands_max)) => match taken {
                    Ok(0) => break,
                    Ok(_) => self.record(commands).await,
                    Err(_idle) => {}
                },
                Some(first) = self.confirmations.recv() => self.confirm_first(first).await,
            }
            // Commands come first above: under a load that never ends, confirmations have their turn here.
            if let Ok(first) = self.confirmations.try_recv() {
                self.confirm_first(first).await;
            }
            if next_poll <= Instant::now() {
                self.poll().await;
                next_poll = Instant::now() + POLL_INTERVAL;
            }
        }
        self.backend.close().await;
    }

    /// Answers this request and all that are queued behind it with one commit; batches wait meanwhile.
    async fn confirm_first(&mut self, first: Confirmation) {
        self.progress.begin();
        let confirmed =
            confirm::confirm(&mut self.backend, &mut self.stuck, first, &mut self.confirmations).await;
        if let Err(error) = confirmed {
            self.progress.failed(&error);
        }
        self.progress.rest();
    }

    /// Records a batch and answers all of it, whatever happens.
    ///
    /// A batch with something in it that the database refuses is halved until that command is alone: one among n costs about 2 log n
    /// transactions, and nobody else an answer. What waits in vain for a ledger that another process holds is set apart likewise.
    async fn record(&mut self, commands: Vec<Command>) {
        metrics::gauge!("formledger_append_queue_depth").set(self.queue.len() as f64);
        self.room.report();
        // A stack: the batch to record first lies last.
        let mut waiting = by_bytes(commands, self.batch.bytes_max);
        while let Some(mut commands) = waiting.pop() {
            metrics::histogram!("formledger_append_batch_commands").record(commands.len() as f64);
            self.progress.begin();
            let mut recorded = self.try_record(&mut commands).await;
            if let Err(error @ (StoreError::Refused(_) | StoreError::Held)) = recorded {
                self.backend.undo().await;
                let again = self.set_apart(&mut commands, error).await;
                recorded = again.map(|batches| waiting.extend(batches));
            }
            if let Err(error) = recorded {
                // What the database did is unknown: forget what was believed about it, and let every client ask again.
                self.progress.failed(&error);
                metrics::counter!("formledger_append_failures_total").increment(1);
                self.heads.clear();
                self.contended.clear();
                self.backend.recover().await;
                waiting.push(commands);
                fail(waiting.drain(..).flatten().collect(), &error);
            }
        }
        self.progress.rest();
    }

    /// Of a batch that is not recorded for what one or few of its commands are: answers those, where they are known, and makes batches of the others, the first one
    /// last. Leaves the commands where it cannot ask.
    async fn set_apart(
        &mut self,
        commands: &mut Vec<Command>,
        error: StoreError,
    ) -> Result<Vec<Vec<Command>>, StoreError> {
        let of_all = commands.len();
        if matches!(error, StoreError::Held) {
            let tenants = confirm::tenants(commands.iter().map(|command| command.stream.tenant()));
            let stuck = self.stuck.find(&mut self.backend, &tenants).await?;
            refuse_stuck(commands, &stuck, &self.progress);
        }
        let mut others = std::mem::take(commands);
        Ok(match others.len() {
            0 => Vec::new(),
            fewer if fewer < of_all => vec![others],
            1 => {
                if matches!(error, StoreError::Held) {
                    self.progress.held();
                }
                fail(others, &error);
                Vec::new()
            }
            all => {
                let second = others.split_off(all / 2);
                vec![second, others]
            }
        })
    }

    /// Answers and removes the commands it could settle; those that remain when it fails share its error.
    async fn try_record(&mut self, commands: &mut Vec<Command>) -> Result<(), StoreError> {
        let mut facts = Facts::default();
        // The era that the facts are of.
        let mut read_in = None;
        let tenants = commands.iter().map(|command| command.stream.tenant());
        let stuck = self.stuck.still(&mut self.backend, tenants).await?;
        refuse_stuck(commands, &stuck, &self.progress);
        for _ in 0..BATCH_ATTEMPTS_MAX {
            self.read_heads(commands).await?;
            let era = self.followers.era();
            if read_in != Some(era) {
                refuse_outdated(commands, era);
                facts = Facts::default();
                self.read_unseen_sequences(commands, &mut facts).await?;
                read_in = Some(era);
            }
            self.read_moved_bases(commands, &mut facts).await?;
            if commands.is_empty() {
                return self.backend.release().await;
            }
            let Plan { batch, verdicts } = plan(commands, &self.heads, &facts, Utc::now().timestamp_micros());
            let repeats: Vec<bool> = verdicts.iter().map(is_repeat).collect();
            if batch.events.is_empty() && batch.outcomes.is_empty() {
                self.backend.release().await?;
                self.confirm(commands, &repeats).await?;
                settle(commands, verdicts, &[]);
                return Ok(());
            }
            let began = Instant::now();
            let Applied::Open { moved } = self.backend.record(&batch).await? else {
                drop(batch);
                self.refuse_overrun(commands).await?;
                self.read_facts(commands, &mut facts).await?;
                continue;
            };
            metrics::histogram!("formledger_append_commit_seconds").record(began.elapsed().as_secs_f64());
            // A commit confirms what was read before it.
            let has_written = batch.heads.len() > moved.len();
            if has_written {
                self.progress.recorded();
            }
            self.committed(batch, &moved);
            // What was decided on such a stream before, and waits in the queue, has to look at it again, as if another process had moved it.
            let bases = commands.iter().filter(|command| command.decision.is_basis);
            self.followers.elsewhere.moved(bases.map(|command| command.stream.tenant()));
            if !has_written {
                self.confirm(commands, &repeats).await?;
            }
            settle(commands, verdicts, &moved);
            if moved.is_empty() {
                return Ok(());
            }
            self.followers.elsewhere.moved(&moved);
            for tenant in moved {
                self.heads.remove(&tenant);
                remember(&mut self.contended, tenant, CONTENDED_MAX);
            }
        }
        Err(StoreError::Busy)
    }

    /// Before repeated requests are told of their first outcomes without any commit.
    async fn confirm(&mut self, commands: &[Command], repeats: &[bool]) -> Result<(), StoreError> {
        let of_repeats = commands.iter().zip(repeats).filter(|(_, is_repeat)| **is_repeat);
        let tenants = confirm::tenants(of_repeats.map(|(command, _)| command.stream.tenant()));
        if tenants.is_empty() { Ok(()) } else { self.backend.confirm(&tenants).await }
    }

    /// What followers are told is durable; they hear of it before the commands' callers do.
    fn committed(&mut self, batch: Batch<'_>, moved: &[TenantId]) {
        let recorded = batch.events.iter().filter(|event| !moved.contains(event.stream.tenant()));
        metrics::counter!("formledger_appended_events_total").increment(recorded.clone().count() as u64);
        let mut heads = batch.heads;
        heads.retain(|head| !moved.contains(&head.tenant));
        self.followers.tail.extend(&heads, recorded.map(EventRow::to_recorded));
        if self.heads.len() + heads.len() > HEADS_CACHED_MAX {
            self.heads.clear();
        }
        let heads: Vec<_> = heads.into_iter().map(|head| (head.tenant, head.to)).collect();
        let newest: Vec<_> = heads.iter().map(|(tenant, head)| (tenant.clone(), head.position)).collect();
        self.heads.extend(heads);
        self.followers.wake.announce(&newest);
    }

    /// Reads the heads that are not known, or holds all of the batch when one of them is contended: taken together and in order, so
    /// that two processes do not wait for each other.
    ///
    /// Answers and removes the commands of ledgers that take none, because they are damaged or being imported: what is wrong with one tenant stays with that tenant.
    async fn read_heads(&mut self, commands: &mut Vec<Command>) -> Result<(), StoreError> {
        let tenants: HashSet<&TenantId> = commands.iter().map(|command| command.stream.tenant()).collect();
        if !self.contended.is_empty() && tenants.iter().any(|tenant| self.contended.contains(*tenant)) {
            let tenants = tenants.into_iter().cloned().collect();
            return self.hold_heads(commands, tenants).await;
        }
        let missing: Vec<TenantId> =
            tenants.into_iter().filter(|tenant| !self.heads.contains_key(*tenant)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let heads = self.backend.heads(&missing).await?;
        self.learn(commands, heads);
        Ok(())
    }

    async fn hold_heads(
        &mut self,
        commands: &mut Vec<Command>,
        tenants: Vec<TenantId>,
    ) -> Result<(), StoreError> {
        let heads = self.backend.hold_heads(&tenants).await?;
        for (tenant, head) in &heads {
            // Nobody was faster this time: from the next batch on it is compared and set again.
            if head.as_ref().is_ok_and(|head| self.heads.get(tenant) == Some(head)) {
                self.contended.remove(tenant);
            }
        }
        for tenant in &tenants {
            self.heads.remove(tenant);
        }
        self.learn(commands, heads);
        Ok(())
    }

    fn learn(&mut self, commands: &mut Vec<Command>, heads: Vec<(TenantId, StoredHead)>) {
        // Whoever moved them last is not known. Said before anything is appended behind it, which would hide it from who looks for others.
        self.followers.elsewhere.moved(heads.iter().map(|(tenant, _)| tenant));
        for (tenant, head) in heads {
            match head {
                Ok(head) => drop(self.heads.insert(tenant, head)),
                Err(withheld) => refuse(commands, &tenant, &withheld.into()),
            }
        }
    }

    /// After a collision: no new fact lets a ledger go on that has events outside of it, so its commands would hold up the batch.
    async fn refuse_overrun(&mut self, commands: &mut Vec<Command>) -> Result<(), StoreError> {
        let tenants: HashSet<&TenantId> = commands.iter().map(|command| command.stream.tenant()).collect();
        let tenants: Vec<TenantId> = tenants.into_iter().cloned().collect();
        for tenant in self.backend.overrun(&tenants).await? {
            self.heads.remove(&tenant);
            let what = format!("there are events outside of the ledger of `{tenant}`");
            refuse(commands, &tenant, &StoreError::Damaged(what));
        }
        Ok(())
    }

    /// Looks up streams that a caller claims to be long without having read them.
    async fn read_unseen_sequences(
        &mut self,
        commands: &[Command],
        facts: &mut Facts,
    ) -> Result<(), StoreError> {
        let unseen = commands
            .iter()
            .filter(|command| command.expected > Sequence::START && command.decision.seen_in.is_none())
            .map(|command| &command.stream);
        self.read_sequences(unseen.collect(), facts).await
    }

    /// Reads again what commands rest on, where that may have been appended to since they read it: by another process, or in an earlier batch. The
    /// heads are known or held by now, so an append that comes later makes this batch's compare-and-set fail.
    async fn read_moved_bases(&mut self, commands: &[Command], facts: &mut Facts) -> Result<(), StoreError> {
        let bases = commands.iter().filter_map(|command| command.decision.basis.as_deref());
        let moved = self.followers.elsewhere.moved_bases(bases);
        self.read_sequences(moved, facts).await
    }

    /// Reads everything that could have collided.
    async fn read_facts(&mut self, commands: &[Command], facts: &mut Facts) -> Result<(), StoreError> {
        self.read_sequences(commands.iter().map(|command| &command.stream).collect(), facts).await?;
        let keys: HashSet<(&TenantId, &str)> = commands
            .iter()
            .filter_map(|command| command.key().map(|key| (command.stream.tenant(), key)))
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = keys.into_iter().collect();
        let remembered = self.backend.remembered(&keys).await?;
        let known = keys.into_iter().zip(remembered);
        facts.remembered = known
            .filter_map(|((tenant, key), first)| Some(((tenant.clone(), key.to_owned()), first?)))
            .collect();
        Ok(())
    }

    async fn read_sequences(
        &mut self,
        streams: HashSet<&StreamId>,
        facts: &mut Facts,
    ) -> Result<(), StoreError> {
        if streams.is_empty() {
            return Ok(());
        }
        let streams: Vec<_> = streams.into_iter().collect();
        let sequences = self.backend.sequences(&streams).await?;
        facts.sequences.extend(streams.into_iter().cloned().zip(sequences));
        Ok(())
    }

    /// Notices what other processes appended, so that followers here wake up.
    async fn poll(&mut self) {
        self.followers.wake.sweep();
        self.room.report();
        let began = std::time::Instant::now();
        match self.backend.moved_elsewhere().await {
            Ok(None) => {}
            Ok(Some(heads)) => {
                let known = |(tenant, position): &(TenantId, Position)| {
                    self.heads.get(tenant).is_some_and(|head| head.position == *position)
                };
                let moved: Vec<_> = heads.into_iter().filter(|head| !known(head)).collect();
                self.followers.elsewhere.moved(moved.iter().map(|(tenant, _)| tenant));
                self.followers.elsewhere.looked(began);
                self.followers.wake.announce(&moved);
            }
            Err(error) => {
                tracing::warn!(error = causes(&error), "cannot look for other writers' appends");
                self.backend.recover().await;
            }
        }
    }
}

/// Commands cut where they reach `bytes_max`, the first ones last; nearly always all of them are one batch.
fn by_bytes(commands: Vec<Command>, bytes_max: usize) -> Vec<Vec<Command>> {
    let mut batches = vec![commands];
    while let Some(rest) = batches.first_mut() {
        let mut bytes = 0;
        let reaches = rest.iter().position(|command| {
            bytes += command.share.bytes();
            bytes >= bytes_max
        });
        match reaches {
            Some(last) if last + 1 < rest.len() => {
                let next = rest.split_off(last + 1);
                batches.insert(0, next);
            }
            _ => break,
        }
    }
    batches
}

/// Remembers one more of at most `most`, beyond which all others are forgotten.
fn remember(contended: &mut HashSet<TenantId>, tenant: TenantId, most: usize) {
    if contended.len() >= most {
        contended.clear();
    }
    contended.insert(tenant);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ledgers_that_others_move_no_more_are_remembered_than_there_is_room_for() {
        let mut contended = HashSet::new();
        let slug = |n: usize| format!("tenant-{n}").parse::<TenantId>().expect("a slug");
        for n in 0..10 {
            remember(&mut contended, slug(n), 4);
            assert!(contended.len() <= 4 && contended.contains(&slug(n)), "{contended:?}");
        }
    }
}
