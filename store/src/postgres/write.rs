//! The writing side: one connection, one transaction per batch of three messages: begin, one statement, commit.
//! Driven by `writer`; holds SQL and nothing else. Every statement also runs on tables that Citus distributes by tenant.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use formledger_domain::{EventId, Position, Sequence, StreamId, TenantId};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Executor, Postgres, Row};

use super::bell::Bell;
use super::error::{answered, collided, failed, is_lost};
use super::link::Link;
use super::read::head_from_row;
use super::{PostgresOptions, schema};
use crate::backend::{Applied, Backend, Batch, EventRow, Head, OutcomeRow, Remembered, StoredHead};
use crate::error::StoreError;
use crate::stored;
use crate::wake::Wake;

/// Begins a transaction with all that it needs of a session, because through a pooler the next one may be another's.
///
/// - The role can append and load, and nothing else.
/// - Without hash joins and sequential scans every plan visits heads in order of tenant, so that two processes that lock the same heads
///   cannot wait for each other.
/// - A lock that another process holds for 5 s ends the wait with `StoreError::Busy`; if this process stops between statement and
///   commit, the server takes its locks away after 10 s.
/// - No time limit on statements: it would also end COMMIT's wait for a synchronous standby, and report success.
/// - An answer means durable, whatever the server's default is; `local` and above are the administrator's choice.
const BEGIN: &str = "BEGIN; SET LOCAL ROLE formledger_writer; SET LOCAL enable_hashjoin = off; SET LOCAL enable_seqscan = off; \
     SET LOCAL lock_timeout = '5s'; SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL statement_timeout = 0";

/// Compares and sets the heads, and records events and outcomes of those that were where the batch expects them.
const APPLY: &str = "\
WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[])
        AS asked (tenant_id, expected, position, recorded_at, frontier)
), created AS (
    INSERT INTO ledgers (tenant_id, position, recorded_at, frontier)
    SELECT tenant_id, position, recorded_at, frontier FROM asked WHERE expected = 0
    ON CONFLICT DO NOTHING
    RETURNING tenant_id
), moved AS (
    UPDATE ledgers SET position = asked.position, recorded_at = asked.recorded_at, frontier = asked.frontier
    FROM asked
    WHERE ledgers.tenant_id = asked.tenant_id AND ledgers.position = asked.expected
    RETURNING ledgers.tenant_id
), won AS (
    SELECT tenant_id FROM created UNION ALL SELECT tenant_id FROM moved
), recorded AS (
    INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                        tenant_id, position, event_id, recorded_at, leaf_hash)
    SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload::json, metadata::json,
           tenant_id, position, event_id, recorded_at, leaf_hash
    FROM unnest($6::text[], $7::text[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::text[],
                $13::text[], $14::bigint[], $15::uuid[], $16::bigint[], $17::bytea[])
        AS event (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                  tenant_id, position, event_id, recorded_at, leaf_hash)
    JOIN won USING (tenant_id)
), remembered AS (
    INSERT INTO idempotency (tenant_id, idempotency_key, request_hash, outcome, position, sequence, recorded_at)
    SELECT tenant_id, idempotency_key, request_hash, outcome, position, sequence, recorded_at
    FROM unnest($18::text[], $19::text[], $20::bytea[], $21::text[], $22::bigint[], $23::bigint[], $24::bigint[])
        AS outcome (tenant_id, idempotency_key, request_hash, outcome, position, sequence, recorded_at)
    JOIN won USING (tenant_id)
)
SELECT tenant_id FROM won";

/// The connection that writes.
#[derive(Debug)]
pub(crate) struct PostgresBackend {
    pub(super) link: Link,
    /// The transaction that is open, if one is.
    open: Option<OpenBatch>,
    bell: Bell,
}

/// What an open transaction would make durable.
#[derive(Debug, Default)]
struct OpenBatch {
    heads: Vec<(TenantId, Position)>,
    proof: Option<Proof>,
}

/// One of the batch's ledgers, which tells whether the batch was committed: a transaction is there as a whole or not at all.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) tenant: TenantId,
    pub(super) head: Head,
    /// The event at the head's position.
    pub(super) event_id: EventId,
}

impl PostgresBackend {
    /// Connects and brings the schema up to date.
    pub(crate) async fn open(options: &PostgresOptions) -> Result<Self, StoreError> {
        let mut link = Link::new(options.database.clone());
        schema::migrate(link.connection().await?).await?;
        let bell = Bell::new(options).await?;
        Ok(Self { link, open: None, bell })
    }

    /// The connection, in a transaction. A connection that broke while nobody used it is replaced, because nothing was asked of it.
    pub(super) async fn transaction(&mut self) -> Result<&mut PgConnection, StoreError> {
        if self.open.is_none() {
            let was_connected = self.link.is_connected();
            match answered(self.link.connection().await?.execute(BEGIN)).await {
                Ok(_) => {}
                Err(error) if was_connected && is_lost(&error) => {
                    self.link.abandon();
                    answered(self.link.connection().await?.execute(BEGIN)).await.map_err(failed)?;
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

    async fn positions(&mut self, tenants: &[&str]) -> Result<Vec<(String, i64)>, StoreError> {
        let query =
            sqlx::query("SELECT tenant_id, position FROM ledgers WHERE tenant_id = ANY($1)").bind(tenants);
        let rows = self.read(query).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }
}

impl Backend for PostgresBackend {
    fn follow(&mut self, wake: &Arc<Wake>) {
        self.bell.follow(wake.clone());
    }

    async fn heads(&mut self, tenants: &[TenantId]) -> Result<Vec<(TenantId, StoredHead)>, StoreError> {
        let names = names(tenants);
        let query = sqlx::query(
            "SELECT tenant_id, position, recorded_at, frontier FROM ledgers WHERE tenant_id = ANY($1)",
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
             RETURNING ledgers.tenant_id, position, recorded_at, frontier",
        )
        .bind(&names);
        let held = answered(query.fetch_all(self.transaction().await?)).await;
        held.map_err(failed)?.iter().map(stored_head).collect()
    }

    async fn release(&mut self) -> Result<(), StoreError> {
        self.roll_back().await
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
        if beyond.is_empty() {
            return Ok(Vec::new());
        }
        // Events and head become visible together, so a head that is read after them is not behind them, unless it is damaged.
        let suspects: Vec<&str> = beyond.iter().map(|(tenant, _)| tenant.as_str()).collect();
        let heads: HashMap<_, _> = self.positions(&suspects).await?.into_iter().collect();
        let overrun =
            beyond.iter().filter(|(tenant, position)| heads.get(tenant).is_none_or(|head| head < position));
        overrun.map(|(tenant, _)| stored::tenant(tenant)).collect()
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
            sequences[place(&row)?] = stored::sequence(row.try_get(1)?);
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
        let query =
            bind_outcomes(bind_events(bind_heads(sqlx::query(APPLY), batch), &batch.events), &batch.outcomes);
        let rows = match answered(query.fetch_all(self.transaction().await?)).await {
            Err(error) if collided(&error) => {
                self.roll_back().await?;
                return Ok(Applied::Collided);
            }
            applied => applied.map_err(failed)?,
        };
        let won: HashSet<&str> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let (won, moved): (Vec<_>, Vec<_>) =
            batch.heads.iter().partition(|head| won.contains(head.tenant.as_str()));
        let proof = won.first().map(|head| Proof {
            tenant: head.tenant.clone(),
            head: head.to.clone(),
            event_id: event_at(batch, &head.tenant, head.to.position),
        });
        let heads = won.iter().map(|head| (head.tenant.clone(), head.to.position)).collect();
        self.open = Some(OpenBatch { heads, proof });
        Ok(Applied::Open { moved: moved.iter().map(|head| head.tenant.clone()).collect() })
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        let committed = answered(self.link.connection().await?.execute("COMMIT")).await;
        let Some(OpenBatch { heads, proof }) = self.open.take() else { return Ok(()) };
        if let Err(error) = committed {
            self.abandon();
            match proof {
                Some(proof) if is_lost(&error) => self.find_out(&proof, failed(error)).await?,
                _ => return Err(failed(error)),
            }
        }
        self.bell.ring(heads);
        Ok(())
    }

    async fn recover(&mut self) {
        self.abandon();
        // What happened is unknown, so what was told of it may be too little: the next poll tells everything again.
        self.bell.forget();
    }

    /// Nothing: the bell hears and polls on its own connections, so that looking around never holds up a batch.
    async fn moved_elsewhere(&mut self) -> Result<Vec<(TenantId, Position)>, StoreError> {
        Ok(Vec::new())
    }

    async fn close(self) {
        self.bell.close().await;
        self.link.close().await;
    }
}

fn names(tenants: &[TenantId]) -> Vec<&str> {
    tenants.iter().map(TenantId::as_str).collect()
}

fn stored_head(row: &PgRow) -> Result<(TenantId, StoredHead), StoreError> {
    let head = match head_from_row(row) {
        Err(StoreError::Damaged(what)) => Err(what),
        read => Ok(read?.1),
    };
    Ok((stored::tenant(row.try_get(0)?)?, head))
}

/// Where in the question the row's answer belongs; `WITH ORDINALITY` counts from 1.
fn place(row: &PgRow) -> Result<usize, StoreError> {
    let place: i64 = row.try_get(0)?;
    Ok(place.unsigned_abs() as usize - 1)
}

fn event_at(batch: &Batch<'_>, tenant: &TenantId, position: Position) -> EventId {
    let event =
        batch.events.iter().find(|event| event.position == position && event.stream.tenant() == tenant);
    event.expect("a head moves to the position of an event of its batch").event_id
}

type Binding<'q> = Query<'q, Postgres, PgArguments>;

/// One array per column.
macro_rules! bind_columns {
    ($query:expr, $rows:expr, $($column:expr),+ $(,)?) => {
        $query$(.bind($rows.iter().map($column).collect::<Vec<_>>()))+
    };
}

fn bind_heads<'q>(query: Binding<'q>, batch: &'q Batch<'_>) -> Binding<'q> {
    bind_columns!(
        query,
        batch.heads,
        |head| head.tenant.as_str(),
        |head| head.from.0 as i64,
        |head| head.to.position.0 as i64,
        |head| head.to.recorded_at,
        |head| head.to.frontier.to_stored(),
    )
}

fn bind_events<'q>(query: Binding<'q>, events: &'q [EventRow<'_>]) -> Binding<'q> {
    bind_columns!(
        query,
        events,
        |event| event.stream.aggregate_type(),
        |event| event.aggregate_id,
        |event| event.sequence.0 as i64,
        |event| event.event_type,
        |event| event.event_version,
        |event| event.payload.as_str(),
        |event| event.metadata,
        |event| event.stream.tenant().as_str(),
        |event| event.position.0 as i64,
        |event| event.event_id.0,
        |event| event.recorded_at,
        |event| event.leaf_hash,
    )
}

fn bind_outcomes<'q>(query: Binding<'q>, outcomes: &'q [OutcomeRow<'_>]) -> Binding<'q> {
    bind_columns!(
        query,
        outcomes,
        |outcome| outcome.tenant.as_str(),
        |outcome| outcome.key,
        |outcome| outcome.request_hash,
        |outcome| outcome.outcome,
        |outcome| outcome.position.0 as i64,
        |outcome| outcome.sequence.0 as i64,
        |outcome| outcome.recorded_at,
    )
}
