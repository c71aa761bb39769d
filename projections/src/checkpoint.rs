//! Checkpoints: how far each projection has come in each ledger, kept in the same transaction as the rows.
//! Used by the projector (load, compare-and-set), readers (position of an answer), status and rebuild.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use formledger_domain::{Position, TenantId};
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, SqliteConnection};

use crate::columns::{self, place};
use crate::many_rows::ManyRows;
use crate::position::ReadModel;

/// How a projection stands in a tenant's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Checkpoint {
    /// The last position applied.
    pub(crate) position: Position,
    /// Why the next event cannot be applied; `None` while following.
    pub(crate) parked: Option<String>,
}

/// A checkpoint's move, compared and set.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    pub(crate) tenant: TenantId,
    pub(crate) from: Position,
    pub(crate) to: Checkpoint,
}

/// `previous` makes one statement of compare-and-set over many rows: the conflict clause can see only the row that is there and the
/// row that would be inserted, so the row brings along what it expects. Only who starts at the beginning may find no row.
static MOVE: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::new(
        "INSERT INTO checkpoints (tenant_id, projection, version, position, previous, status, error) \
         SELECT * FROM (VALUES",
        7,
        ") AS moved WHERE moved.column5 = 0 OR EXISTS (SELECT 1 FROM checkpoints AS c WHERE c.tenant_id = moved.column1 \
         AND c.projection = moved.column2 AND c.version = moved.column3) \
         ON CONFLICT (tenant_id, projection, version) DO UPDATE SET position = excluded.position, \
         previous = excluded.previous, status = excluded.status, error = excluded.error \
         WHERE checkpoints.position = excluded.previous",
    )
});

/// Moves checkpoints; answers whether every one of them was where it was expected. When not, roll back.
pub(crate) async fn compare_and_set(
    connection: &mut SqliteConnection,
    read_model: ReadModel,
    moves: Vec<Move>,
) -> Result<bool, sqlx::Error> {
    let expected = moves.len() as u64;
    let moved = MOVE
        .execute(connection, moves, |arguments: &mut SqliteArguments<'static>, moved: Move| {
            arguments.add(moved.tenant.as_str().to_owned())?;
            arguments.add(read_model.name())?;
            arguments.add(read_model.version())?;
            arguments.add(place(moved.to.position.0))?;
            arguments.add(place(moved.from.0))?;
            arguments.add(if moved.to.parked.is_some() { "parked" } else { "following" })?;
            arguments.add(moved.to.parked)
        })
        .await?;
    Ok(moved == expected)
}

/// The checkpoints of one projection.
pub(crate) async fn load_all(
    connection: &mut SqliteConnection,
    read_model: ReadModel,
) -> Result<HashMap<TenantId, Checkpoint>, sqlx::Error> {
    let rows: Vec<(String, i64, Option<String>)> = sqlx::query_as(
        "SELECT tenant_id, position, error FROM checkpoints WHERE projection = ? AND version = ?",
    )
    .bind(read_model.name())
    .bind(read_model.version())
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(tenant, position, parked)| {
            Ok((columns::tenant(&tenant)?, Checkpoint { position: columns::position(position)?, parked }))
        })
        .collect()
}

/// How many tenants a projection is parked at.
pub(crate) async fn count_parked(
    connection: &mut SqliteConnection,
    read_model: ReadModel,
) -> Result<usize, sqlx::Error> {
    let count: u32 = sqlx::query_scalar(
        "SELECT count(*) FROM checkpoints WHERE projection = ? AND version = ? AND status = 'parked'",
    )
    .bind(read_model.name())
    .bind(read_model.version())
    .fetch_one(connection)
    .await?;
    Ok(count as usize)
}

/// The events that operators let a projection pass over.
pub(crate) async fn load_skipped(
    connection: &mut SqliteConnection,
    read_model: ReadModel,
) -> Result<HashSet<(TenantId, Position)>, sqlx::Error> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT tenant_id, position FROM skips WHERE projection = ? AND version = ?")
            .bind(read_model.name())
            .bind(read_model.version())
            .fetch_all(connection)
            .await?;
    rows.into_iter()
        .map(|(tenant, position)| Ok((columns::tenant(&tenant)?, columns::position(position)?)))
        .collect()
}

/// How far one tenant's read model reaches, in the connection's present snapshot.
pub(crate) async fn position(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    read_model: ReadModel,
) -> Result<Position, sqlx::Error> {
    position_in(connection, "main", tenant, read_model).await
}

/// The same in the database that is attached as `other`.
pub(crate) async fn position_in_other(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    read_model: ReadModel,
) -> Result<Position, sqlx::Error> {
    position_in(connection, "other", tenant, read_model).await
}

async fn position_in(
    connection: &mut SqliteConnection,
    schema: &str,
    tenant: &TenantId,
    read_model: ReadModel,
) -> Result<Position, sqlx::Error> {
    let select = format!(
        "SELECT position FROM {schema}.checkpoints WHERE tenant_id = ? AND projection = ? AND version = ?"
    );
    let position: Option<i64> = sqlx::query_scalar(&select)
        .bind(tenant.as_str())
        .bind(read_model.name())
        .bind(read_model.version())
        .fetch_optional(connection)
        .await?;
    Ok(columns::position(position.unwrap_or_default())?)
}
