//! The statement that records a batch, its arguments, and what its answer means. Called by `write`.

use std::collections::{HashMap, HashSet};

use formledger_domain::{EventId, Position, TenantId};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row};

use super::find_out::Proof;
use crate::backend::{Batch, EventRow, HeadMove, ImportStep, OutcomeRow};
use crate::error::StoreError;

/// Compares and sets the heads, and records events and outcomes of those that were where the batch expects them: at the position, and with
/// the tip of the tree (the last 32 bytes of the frontier), which a ledger that lost events and has others there does not have. One whose import is
/// not at its end is moved by an import alone; the mark changes with the position, so who waited for the row sees both.
///
/// Rows ask a hash table whether their ledger moved: `IS TRUE` keeps the question from becoming a join, and the only join that this session
/// may use here compares each row with each ledger, which with hundreds of ledgers in a batch costs more than recording it.
const APPLY: &str = "\
WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[])
        AS asked (tenant_id, expected, position, recorded_at, frontier, tip)
), created AS (
    INSERT INTO ledgers (tenant_id, position, recorded_at, frontier, importing)
    SELECT tenant_id, position, recorded_at, frontier, $26 FROM asked WHERE expected = 0
    ON CONFLICT DO NOTHING
    RETURNING tenant_id
), moved AS (
    UPDATE ledgers SET position = asked.position, recorded_at = asked.recorded_at, frontier = asked.frontier, importing = $26
    FROM asked
    WHERE ledgers.tenant_id = asked.tenant_id AND ledgers.position = asked.expected
      AND substr(ledgers.frontier, length(ledgers.frontier) - 31) = asked.tip
      AND ledgers.importing <= $27
    RETURNING ledgers.tenant_id
), won AS (
    SELECT tenant_id FROM created UNION ALL SELECT tenant_id FROM moved
), recorded AS (
    INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                        tenant_id, position, event_id, recorded_at, leaf_hash)
    SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload::json, metadata::json,
           tenant_id, position, event_id, recorded_at, leaf_hash
    FROM unnest($7::text[], $8::text[], $9::bigint[], $10::text[], $11::text[], $12::text[], $13::text[],
                $14::text[], $15::bigint[], $16::uuid[], $17::bigint[], $18::bytea[])
        AS event (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                  tenant_id, position, event_id, recorded_at, leaf_hash)
    WHERE (tenant_id IN (SELECT won.tenant_id FROM won)) IS TRUE
), remembered AS (
    INSERT INTO idempotency (tenant_id, idempotency_key, request_hash, outcome, position, sequence, recorded_at)
    SELECT tenant_id, idempotency_key, request_hash, outcome, position, sequence, recorded_at
    FROM unnest($19::text[], $20::text[], $21::bytea[], $22::text[], $23::bigint[], $24::bigint[], $25::bigint[])
        AS outcome (tenant_id, idempotency_key, request_hash, outcome, position, sequence, recorded_at)
    WHERE (tenant_id IN (SELECT won.tenant_id FROM won)) IS TRUE
)
SELECT tenant_id FROM won";

/// Where ledgers end.
pub(super) type Ends = Vec<(TenantId, Position)>;

/// Where the batch's ledgers end that moved, by what the statement answered, and those that had moved before.
pub(super) fn won_and_moved(batch: &Batch<'_>, rows: &[PgRow]) -> Result<(Ends, Vec<TenantId>), StoreError> {
    let won: HashSet<&str> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    Ok(split(batch, |tenant| won.contains(tenant)))
}

pub(super) fn split(batch: &Batch<'_>, is_won: impl Fn(&str) -> bool) -> (Ends, Vec<TenantId>) {
    let (won, moved): (Vec<_>, Vec<_>) = batch.heads.iter().partition(|head| is_won(head.tenant.as_str()));
    let ends = won.iter().map(|head| (head.tenant.clone(), head.to.position)).collect();
    (ends, moved.iter().map(|head| head.tenant.clone()).collect())
}

/// What tells of each of the batch's ledgers whether its part was committed. Nothing tells so where only outcomes are remembered: such a part is
/// recorded again, collides with itself where it was committed, and is found to be a repetition.
pub(super) fn proofs(batch: &Batch<'_>) -> Vec<Proof> {
    // Of each ledger in order of position, so that the last one stays.
    let newest: HashMap<&TenantId, EventId> =
        batch.events.iter().map(|event| (event.stream.tenant(), event.event_id)).collect();
    let proof = |head: &HeadMove| {
        let event_id = *newest.get(&head.tenant)?;
        Some(Proof { tenant: head.tenant.clone(), head: head.to.clone(), event_id })
    };
    batch.heads.iter().filter_map(proof).collect()
}

pub(super) fn apply<'q>(batch: &'q Batch<'_>) -> Binding<'q> {
    bind_outcomes(bind_events(bind_heads(sqlx::query(APPLY), batch), &batch.events), &batch.outcomes)
        .bind(batch.import == ImportStep::GoesOn)
        .bind(batch.import != ImportStep::None)
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
        |head| head.tip,
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
