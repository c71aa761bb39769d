//! Checkpoints: how far each projection has come in each ledger, kept in the same transaction as the rows.
//! Used by the projector (load, compare-and-set), readers (position of an answer), status and rebuild.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use formledger_domain::{Position, TenantId};

use crate::columns::{self, place};
use crate::database::Kind::{Integer, Text};
use crate::database::{Connection, ManyRows, sql};
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

/// How a checkpoint moves on: each row is found once. Postgres takes half as long for it as for the insertion below, which looks twice, tries to insert,
/// and locks what is there before it changes it (docs/benchmarks-notebook.md, "Growth"). Nothing of a key is written out here, though all rows have the same
/// projection: before it has statistics, Postgres would think that hardly any checkpoint is of it, and begin with those for each row. Where there is a checkpoint of
/// this version there is none of another: a key sees to it.
static GO_ON: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::over(
        "UPDATE checkpoints SET position = r.column5, previous = r.column4, error = r.column6, \
         status = CASE WHEN r.column6 IS NULL THEN 'following' ELSE 'parked' END FROM {rows} \
         WHERE checkpoints.tenant_id = r.column1 AND checkpoints.projection = r.column2 AND checkpoints.version = r.column3 \
         AND checkpoints.position = r.column4",
        &[Text, Text, Integer, Integer, Integer, Text],
    )
});

/// How a checkpoint begins, or leaves the beginning: only who starts there may find no row. Nobody begins beside a checkpoint of another version of the
/// projection, whose rows are in the same tables; that is asked for as a value, because `EXISTS` would let Postgres read all checkpoints for each batch.
/// The conflict clause can see only the row that is there and the row that would be inserted, so this one brings along what it expects.
static BEGIN: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::over(
        "INSERT INTO checkpoints (tenant_id, projection, version, position, previous, status, error) \
         SELECT * FROM {rows} WHERE (SELECT o.version FROM checkpoints AS o WHERE o.tenant_id = r.column1 AND o.projection = r.column2 \
         AND o.version <> r.column3) IS NULL \
         ON CONFLICT (tenant_id, projection, version) DO UPDATE SET position = excluded.position, \
         previous = excluded.previous, status = excluded.status, error = excluded.error \
         WHERE checkpoints.position = excluded.previous",
        &[Text, Text, Integer, Integer, Integer, Text, Text],
    )
});

/// Moves checkpoints; answers whether every one of them was where it was expected. When not, roll back.
pub(crate) async fn compare_and_set(
    connection: &mut Connection<'_>,
    read_model: ReadModel,
    moves: Vec<Move>,
) -> Result<bool, sqlx::Error> {
    let expected = moves.len() as u64;
    let (begun, going_on): (Vec<Move>, Vec<Move>) =
        moves.into_iter().partition(|moved| moved.from == Position::START);
    let gone_on = GO_ON
        .execute(connection, going_on, |values, moved: &Move| {
            values.text(moved.tenant.as_str());
            values.text(read_model.name());
            values.integer(read_model.version());
            values.integer(place(moved.from.0));
            values.integer(place(moved.to.position.0));
            values.text_or_null(moved.to.parked.as_deref());
        })
        .await?;
    let begun = BEGIN
        .execute(connection, begun, |values, moved: &Move| {
            values.text(moved.tenant.as_str());
            values.text(read_model.name());
            values.integer(read_model.version());
            values.integer(place(moved.to.position.0));
            values.integer(place(moved.from.0));
            values.text(if moved.to.parked.is_some() { "parked" } else { "following" });
            values.text_or_null(moved.to.parked.as_deref());
        })
        .await?;
    Ok(gone_on + begun == expected)
}

/// The checkpoints of one projection.
pub(crate) async fn load_all(
    connection: &mut Connection<'_>,
    read_model: ReadModel,
) -> Result<HashMap<TenantId, Checkpoint>, sqlx::Error> {
    load_all_in(connection, "checkpoints", read_model).await
}

/// As [`load_all`] in another set of read models that this connection sees, by the name of its `checkpoints`.
pub(crate) async fn load_all_in(
    connection: &mut Connection<'_>,
    checkpoints: &str,
    read_model: ReadModel,
) -> Result<HashMap<TenantId, Checkpoint>, sqlx::Error> {
    let select = format!(
        "SELECT tenant_id, position, error FROM {checkpoints} WHERE projection = $1 AND version = $2"
    );
    let rows = sql(select).bind(read_model.name()).bind(read_model.version()).rows(connection).await?;
    rows.iter()
        .map(|row| {
            let checkpoint =
                Checkpoint { position: columns::position(row.get("position")?)?, parked: row.get("error")? };
            Ok((columns::tenant(row.get("tenant_id")?)?, checkpoint))
        })
        .collect()
}

/// What tells whether somebody else moved a projection's checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    /// How many tenants it is parked at.
    pub(crate) parked: u64,
    /// The sum of all positions.
    pub(crate) reached: u64,
}

/// The totals of every projection that has checkpoints, by its name and version; all at once, because that reads every row.
pub(crate) async fn totals(
    connection: &mut Connection<'_>,
) -> Result<HashMap<(String, i64), Totals>, sqlx::Error> {
    let rows = sql("SELECT projection, version, count(*) FILTER (WHERE status = 'parked') AS parked, \
         CAST(sum(position) AS bigint) AS reached FROM checkpoints GROUP BY projection, version")
    .rows(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let totals = Totals {
                parked: columns::count(row.get("parked")?)?,
                reached: columns::count(row.get("reached")?)?,
            };
            Ok(((row.get("projection")?, row.get("version")?), totals))
        })
        .collect()
}

/// The events that operators let a projection pass over.
pub(crate) async fn load_skipped(
    connection: &mut Connection<'_>,
    read_model: ReadModel,
) -> Result<HashSet<(TenantId, Position)>, sqlx::Error> {
    let rows = sql("SELECT tenant_id, position FROM skips WHERE projection = $1 AND version = $2")
        .bind(read_model.name())
        .bind(read_model.version())
        .rows(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((columns::tenant(row.get("tenant_id")?)?, columns::position(row.get("position")?)?)))
        .collect()
}

/// How far one tenant's read model reaches, in the connection's present snapshot.
pub(crate) async fn position(
    connection: &mut Connection<'_>,
    tenant: &TenantId,
    read_model: ReadModel,
) -> Result<Position, sqlx::Error> {
    position_in(connection, "checkpoints", tenant, read_model).await
}

/// How far the rows reach that a query would read; `None` while there are none to be read, because another version of the projection made them
/// or this one has still to make them: other projections of the same ledger have come further then. A ledger that nothing was read of
/// is at [`Position::START`].
pub(crate) async fn readable(
    connection: &mut Connection<'_>,
    tenant: &TenantId,
    read_model: ReadModel,
) -> Result<Option<Position>, sqlx::Error> {
    let rows = sql("SELECT projection, version, position, status FROM checkpoints WHERE tenant_id = $1")
        .bind(tenant.as_str())
        .rows(connection)
        .await?;
    for row in &rows {
        if row.get::<&str>("projection")? == read_model.name() {
            let position = columns::position(row.get("position")?)?;
            let begun = position > Position::START || row.get::<&str>("status")? == "parked";
            let is_own = row.get::<i64>("version")? == read_model.version();
            return Ok((is_own && begun).then_some(position));
        }
    }
    Ok(rows.is_empty().then_some(Position::START))
}

/// Whether another read model of this tenant shows more of the ledger than `position`.
pub(crate) async fn is_behind_others(
    connection: &mut Connection<'_>,
    tenant: &TenantId,
    position: Position,
) -> Result<bool, sqlx::Error> {
    sql("SELECT EXISTS (SELECT 1 FROM checkpoints WHERE tenant_id = $1 AND position > $2)")
        .bind(tenant.as_str())
        .bind(place(position.0))
        .one(connection)
        .await?
        .value()
}

/// As [`position`] in another set of read models that this connection sees, by the name of its `checkpoints`.
pub(crate) async fn position_in(
    connection: &mut Connection<'_>,
    checkpoints: &str,
    tenant: &TenantId,
    read_model: ReadModel,
) -> Result<Position, sqlx::Error> {
    let select = format!(
        "SELECT position FROM {checkpoints} WHERE tenant_id = $1 AND projection = $2 AND version = $3"
    );
    let row = sql(select)
        .bind(tenant.as_str())
        .bind(read_model.name())
        .bind(read_model.version())
        .optional(connection)
        .await?;
    let position: Option<i64> = row.map(|row| row.value()).transpose()?;
    Ok(columns::position(position.unwrap_or_default())?)
}
