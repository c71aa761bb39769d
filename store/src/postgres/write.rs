//! The writing side: one connection, one transaction per batch: one statement, or through a pooler begin, statement, commit.
//! Driven by `writer`; holds SQL and nothing else. Every statement also runs on tables that Citus distributes by tenant.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use formledger_domain::{Position, Sequence, StreamId, TenantId};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions, Connection, Executor, Postgres, Row};

use super::apply::{Ends, apply, proofs, split, won_and_moved};
use super::bell::Bell;
use super::error::{answered, collided, connected, failed, is_lost};
use super::find_out::Proof;
use super::lineage::Lineage;
use super::link::{Link, SESSION};
use super::read::Sight;
use super::{PostgresOptions, schema};
use crate::backend::{Applied, Backend, Batch, Remembered, StoredHead, Withheld};
use crate::error::{StoreError, causes};
use crate::followers::Followers;
use crate::{rows, stored};

/// Begins a transaction in a session as [`SESSION`] has it, whosever it was before.
static BEGIN: LazyLock<String> = LazyLock::new(|| {
    let set = SESSION.map(|(setting, value)| format!("; SET LOCAL {setting} = '{value}'"));
    format!("BEGIN{}", set.concat())
});

/// The connection that writes.
#[derive(Debug)]
pub(crate) struct PostgresBackend {
    pub(super) link: Link,
    /// The transaction that is open, if one is.
    open: Option<OpenBatch>,
    bell: Bell,
    lineage: Arc<Lineage>,
    /// The era in which batches are planned.
    era: u64,
}

/// What an open transaction would make durable.
#[derive(Debug, Default)]
struct OpenBatch {
    ends: Ends,
    /// Of one of its ledgers: a transaction is there as a whole or not at all.
    proof: Option<Proof>,
}

impl PostgresBackend {
    /// Connects and brings the schema up to date.
    pub(crate) async fn open(options: &PostgresOptions) -> Result<Self, StoreError> {
        // As the one who logs in: the writer may not change the schema.
        let mut connection = connected(options.database.connect()).await.map_err(failed)?;
        schema::migrate(&mut connection).await?;
        if let Err(error) = connection.close().await {
            tracing::warn!(error = causes(&error), "cannot close the database in good order");
        }
        let lineage = Arc::<Lineage>::default();
        let bell = Bell::new(options, lineage.clone()).await?;
        let link = Link::new(options.database.clone(), lineage.clone());
        Ok(Self { link, open: None, bell, lineage, era: 0 })
    }

    /// Whether the server is a standby whose ledger can be read.
    ///
    /// # Errors
    /// As [`PostgresBackend::open`], but for the standby.
    pub(crate) async fn is_readable_standby(options: &PostgresOptions) -> Result<bool, StoreError> {
        let mut connection = connected(options.database.connect()).await.map_err(failed)?;
        let is_standby = schema::is_readable_standby(&mut connection).await?;
        if let Err(error) = connection.close().await {
            tracing::warn!(error = causes(&error), "cannot close the database in good order");
        }
        Ok(is_standby)
    }

    /// What of the ledgers there a login that records nothing sees, on a primary or a standby; changes nothing.
    ///
    /// # Errors
    /// As [`PostgresBackend::open`]; and for a database that has to be migrated first.
    pub(crate) async fn sight(options: &PostgresOptions) -> Result<Sight, StoreError> {
        let mut connection = connected(options.database.connect()).await.map_err(failed)?;
        let sight = schema::sight(&mut connection).await?;
        if let Err(error) = connection.close().await {
            tracing::warn!(error = causes(&error), "cannot close the database in good order");
        }
        Ok(sight)
    }

    /// The connection, in a transaction. A connection that broke while nobody used it is replaced, because nothing was asked of it.
    pub(super) async fn transaction(&mut self) -> Result<&mut PgConnection, StoreError> {
        if self.open.is_none() {
            let was_connected = self.link.is_connected();
            match answered(self.link.connection().await?.execute(BEGIN.as_str())).await {
                Ok(_) => {}
                Err(error) if was_connected && is_lost(&error) => {
                    self.link.abandon();
                    answered(self.link.connection().await?.execute(BEGIN.as_str())).await.map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
            self.open = Some(OpenBatch::default());
        }
        self.link.connection().await
    }

    /// Ends the transaction, if one is open, so that nothing of it remains.
    pub(super) async fn roll_back(&mut self) -> Result<(), StoreError> {
        if self.open.take().is_some() {
            answered(self.link.connection().await?.execute("ROLLBACK")).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Takes note that the transaction was committed.
    pub(super) fn ended(&mut self) {
        self.open = None;
    }

    /// Gives the connection up, and with it what was open.
    pub(super) fn abandon(&mut self) {
        self.open = None;
        self.link.abandon();
    }

    /// Rows of one question, in a transaction of its own.
    async fn read(&mut self, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, StoreError> {
        let rows = answered(query.fetch_all(self.transaction().await?)).await.map_err(failed)?;
        self.roll_back().await?;
        Ok(rows)
    }

    /// Whether events may have been lost since this was last asked: what a batch was planned on has to be read again.
    fn era_changed(&mut self) -> bool {
        let era = self.lineage.era();
        std::mem::replace(&mut self.era, era) != era
    }

    /// Records a batch once more whose answer was lost and which is found nowhere, as after a restart of the server. Should the lost one be committed
    /// late after all, its heads have moved, and a second look finds it.
    async fn record_again(&mut self, batch: &Batch<'_>, lost: &StoreError) -> Result<Applied, StoreError> {
        let answer = answered(apply(batch).fetch_all(self.link.connection().await?)).await;
        let is_collision = answer.as_ref().is_err_and(collided);
        let rows = if is_collision { Vec::new() } else { answer.map_err(in_doubt)? };
        let (_, moved) = won_and_moved(batch, &rows)?;
        let mut elsewhere = proofs(batch);
        elsewhere.retain(|proof| moved.contains(&proof.tenant));
        let found = match &*elsewhere {
            [] => HashSet::new(),
            elsewhere => self.find_out(elsewhere, lost).await?,
        };
        if is_collision && found.is_empty() {
            return Ok(Applied::Collided);
        }
        let is_moved = |tenant: &str| moved.iter().any(|moved| moved.as_str() == tenant);
        let (ends, moved) = split(batch, |tenant| found.contains(tenant) || !is_moved(tenant));
        self.bell.ring(ends);
        Ok(Applied::Open { moved })
    }

    async fn positions(&mut self, tenants: &[&str]) -> Result<Vec<(String, i64)>, StoreError> {
        let query =
            sqlx::query("SELECT tenant_id, position FROM ledgers WHERE tenant_id = ANY($1)").bind(tenants);
        let rows = self.read(query).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }
}

impl Backend for PostgresBackend {
    fn follow(&mut self, followers: &Followers) {
        self.lineage.follow(followers.clone());
        self.bell.follow(followers);
    }

    async fn heads(&mut self, tenants: &[TenantId]) -> Result<Vec<(TenantId, StoredHead)>, StoreError> {
        let names = names(tenants);
        let query = sqlx::query(
            "SELECT tenant_id, position, recorded_at, frontier, importing FROM ledgers WHERE tenant_id = ANY($1)",
        )
        .bind(&names);
        self.read(query).await?.iter().map(stored_head).collect()
    }

    async fn hold_heads(&mut self, tenants: &[TenantId]) -> Result<Vec<(TenantId, StoredHead)>, StoreError> {
        let mut names = names(tenants);
        // As the planner of batches sorts them.
        names.sort_unstable();
        // An update that changes nothing locks the rows and reads the newest; Citus takes no FOR UPDATE over several tenants.
        let query = sqlx::query(
            "UPDATE ledgers SET position = ledgers.position FROM unnest($1::text[]) AS asked (tenant_id) \
             WHERE ledgers.tenant_id = asked.tenant_id \
             RETURNING ledgers.tenant_id, position, recorded_at, frontier, importing",
        )
        .bind(&names);
        let held = answered(query.fetch_all(self.transaction().await?)).await;
        held.map_err(failed)?.iter().map(stored_head).collect()
    }

    /// Tenant by tenant: Citus takes no `FOR UPDATE` over several.
    async fn held(&mut self, tenants: &[TenantId]) -> Result<Vec<(TenantId, Position)>, StoreError> {
        let there = self.positions(&names(tenants)).await?;
        let mut held = Vec::new();
        let transaction = self.transaction().await?;
        for (tenant, position) in there {
            let free = sqlx::query("SELECT 1 FROM ledgers WHERE tenant_id = $1 FOR SHARE SKIP LOCKED");
            let is_free =
                answered(free.bind(&tenant).fetch_optional(&mut *transaction)).await.map_err(failed)?;
            if is_free.is_none() {
                held.push((stored::tenant(&tenant)?, stored::position(position)?));
            }
        }
        self.roll_back().await?;
        Ok(held)
    }

    async fn release(&mut self) -> Result<(), StoreError> {
        self.roll_back().await
    }

    /// By a commit of its own, which waits for a synchronous standby as every commit does, and so for everything before it.
    async fn confirm(&mut self, tenants: &[TenantId]) -> Result<(), StoreError> {
        self.hold_heads(tenants).await?;
        self.commit().await
    }

    async fn overrun(&mut self, tenants: &[TenantId]) -> Result<Vec<TenantId>, StoreError> {
        let names = names(tenants);
        let known: HashMap<_, _> = self.positions(&names).await?.into_iter().collect();
        let heads: Vec<i64> = names.iter().map(|name| known.get(*name).copied().unwrap_or(0)).collect();
        let query = sqlx::query(
            "SELECT events.tenant_id, max(events.position) FROM unnest($1::text[], $2::bigint[]) AS asked (tenant_id, head) \
             JOIN events ON events.tenant_id = asked.tenant_id AND events.position > asked.head GROUP BY events.tenant_id",
        )
        .bind(&names)
        .bind(&heads);
        let rows = self.read(query).await?;
        let beyond: Vec<(String, i64)> = rows
            .iter()
            .map(|row| Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, _>>()?;
        let before = sqlx::query(
            "SELECT tenant_id FROM unnest($1::text[]) AS asked (tenant_id) \
             WHERE EXISTS (SELECT 1 FROM events WHERE events.tenant_id = asked.tenant_id AND events.position < 1)",
        )
        .bind(&names);
        let before = self.read(before).await?;
        let mut overrun: Vec<TenantId> =
            before.iter().map(|row| stored::tenant(row.try_get(0)?)).collect::<Result<_, _>>()?;
        if beyond.is_empty() {
            return Ok(overrun);
        }
        // Events and head become visible together, so a head that is read after them is not behind them, unless it is damaged.
        let suspects: Vec<&str> = beyond.iter().map(|(tenant, _)| tenant.as_str()).collect();
        let heads: HashMap<_, _> = self.positions(&suspects).await?.into_iter().collect();
        for (tenant, position) in &beyond {
            if heads.get(tenant).is_none_or(|head| head < position) {
                overrun.push(stored::tenant(tenant)?);
            }
        }
        Ok(overrun)
    }

    async fn sequences(&mut self, streams: &[&StreamId]) -> Result<Vec<Sequence>, StoreError> {
        let ids: Vec<String> = streams.iter().map(|stream| stream.aggregate_id()).collect();
        let query = sqlx::query(
            "SELECT place, max(sequence) FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY \
                 AS asked (tenant_id, aggregate_type, aggregate_id, place) \
             JOIN events USING (tenant_id, aggregate_type, aggregate_id) GROUP BY place",
        )
        .bind(streams.iter().map(|stream| stream.tenant().as_str()).collect::<Vec<_>>())
        .bind(streams.iter().map(|stream| stream.aggregate_type()).collect::<Vec<_>>())
        .bind(&ids);
        let mut sequences = vec![Sequence::START; streams.len()];
        for row in self.read(query).await? {
            sequences[place(&row)?] = stored::sequence(row.try_get(1)?)?;
        }
        Ok(sequences)
    }

    async fn remembered(
        &mut self,
        keys: &[(&TenantId, &str)],
    ) -> Result<Vec<Option<Remembered>>, StoreError> {
        let query = sqlx::query(
            "SELECT place, request_hash, outcome, position, sequence FROM unnest($1::text[], $2::text[]) WITH ORDINALITY \
                 AS asked (tenant_id, idempotency_key, place) \
             JOIN idempotency USING (tenant_id, idempotency_key)",
        )
        .bind(keys.iter().map(|(tenant, _)| tenant.as_str()).collect::<Vec<_>>())
        .bind(keys.iter().map(|(_, key)| *key).collect::<Vec<_>>());
        let mut remembered: Vec<_> = keys.iter().map(|_| None).collect();
        for row in self.read(query).await? {
            remembered[place(&row)?] =
                Some(stored::remembered(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?)?);
        }
        Ok(remembered)
    }

    async fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, StoreError> {
        let rows = match answered(apply(batch).fetch_all(self.transaction().await?)).await {
            Err(error) if collided(&error) => {
                self.roll_back().await?;
                return Ok(Applied::Collided);
            }
            applied => applied.map_err(failed)?,
        };
        let (ends, moved) = won_and_moved(batch, &rows)?;
        let proof = proofs(batch).into_iter().find(|proof| !moved.contains(&proof.tenant));
        self.open = Some(OpenBatch { ends, proof });
        Ok(Applied::Open { moved })
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        let committed = answered(self.link.connection().await?.execute("COMMIT")).await;
        let Some(OpenBatch { ends, proof }) = self.open.take() else { return Ok(()) };
        if let Err(error) = committed {
            self.abandon();
            let lost = is_lost(&error);
            let error = failed(error);
            let recorded = match proof {
                Some(proof) if lost => !self.find_out(&[proof], &error).await?.is_empty(),
                _ => false,
            };
            if !recorded {
                return Err(error);
            }
        }
        self.bell.ring(ends);
        Ok(())
    }

    /// In a session of our own, one statement is a transaction of its own.
    async fn record(&mut self, batch: &Batch<'_>) -> Result<Applied, StoreError> {
        self.link.connection().await?;
        if self.era_changed() {
            self.roll_back().await?;
            return Ok(Applied::Collided);
        }
        if self.open.is_some() || !self.link.is_own_session() {
            let applied = self.apply(batch).await?;
            if matches!(applied, Applied::Open { .. }) {
                self.commit().await?;
            }
            return Ok(applied);
        }
        let rows = match answered(apply(batch).fetch_all(self.link.connection().await?)).await {
            Err(error) if is_lost(&error) => {
                self.abandon();
                let lost = failed(error);
                let found = self.find_out(&proofs(batch), &lost).await?;
                if !found.is_empty() {
                    let (ends, moved) = split(batch, |tenant| found.contains(tenant));
                    self.bell.ring(ends);
                    return Ok(Applied::Open { moved });
                }
                if self.era_changed() {
                    return Ok(Applied::Collided);
                }
                return self.record_again(batch, &lost).await;
            }
            Err(error) if collided(&error) => return Ok(Applied::Collided),
            recorded => recorded.map_err(failed)?,
        };
        let (ends, moved) = won_and_moved(batch, &rows)?;
        self.bell.ring(ends);
        Ok(Applied::Open { moved })
    }

    async fn recover(&mut self) {
        self.abandon();
        // What happened is unknown, so what was told of it may be too little: the next poll tells everything again.
        self.bell.forget();
    }

    async fn undo(&mut self) {
        if self.roll_back().await.is_err() {
            self.recover().await;
        }
    }

    /// Nothing: the bell hears and polls on its own connections, so that looking around never holds up a batch.
    async fn moved_elsewhere(&mut self) -> Result<Option<Vec<(TenantId, Position)>>, StoreError> {
        Ok(None)
    }

    async fn close(self) {
        self.bell.close().await;
        self.link.close().await;
    }
}

/// What a batch met that was on its way before and may be recorded: not to be tried again as if it were not.
fn in_doubt(error: sqlx::Error) -> StoreError {
    match failed(error) {
        StoreError::Held => StoreError::Busy,
        other => other,
    }
}

fn names(tenants: &[TenantId]) -> Vec<&str> {
    tenants.iter().map(TenantId::as_str).collect()
}

fn stored_head(row: &PgRow) -> Result<(TenantId, StoredHead), StoreError> {
    let head = match rows::head(row) {
        Err(StoreError::Damaged(what)) => Err(Withheld::Damaged(what)),
        read if row.try_get(4)? => Err(Withheld::Importing(read?.1)),
        read => Ok(read?.1),
    };
    Ok((rows::owner(row)?, head))
}

/// Where in the question the row's answer belongs; `WITH ORDINALITY` counts from 1.
fn place(row: &PgRow) -> Result<usize, StoreError> {
    let place: i64 = row.try_get(0)?;
    Ok(place.unsigned_abs() as usize - 1)
}
