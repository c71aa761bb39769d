//! What readiness and operators see, and the one way past an event that cannot be applied.
//! How far a read model is behind is found out in `standing.rs`; `skip` is an operator's explicit action and leaves a record.

use chrono::{DateTime, Utc};
use formledger_domain::{Position, TenantId};
use serde::Serialize;

use crate::checkpoint::{self, Checkpoint, Move, Moved};
use crate::columns::{micros, place};
use crate::database::{Connection, OwnConnection, sql};
use crate::position::ReadModel;

/// The most parked tenants that a status lists.
pub const PARKED_LISTED_MAX: usize = 100;

/// How one read model stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadModelStatus {
    /// Which one.
    pub read_model: ReadModel,
    /// Events recorded and not applied, over all tenants that are not parked.
    pub lag_events: u64,
    /// How many tenants are parked.
    pub parked_count: u64,
    /// Tenants whose next event cannot be applied, by slug; at most [`PARKED_LISTED_MAX`].
    pub parked: Vec<ParkedTenant>,
}

/// A tenant at which a projection stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParkedTenant {
    /// Whose ledger.
    pub tenant: TenantId,
    /// The last position applied; the next one cannot be.
    pub position: Position,
    /// Why.
    pub error: String,
}

/// Why an event cannot be skipped.
#[derive(Debug, thiserror::Error)]
pub enum SkipError {
    /// The projection is not parked right before this event.
    #[error("the projection is not parked before position {position}: skip only the event it names")]
    NotParkedThere {
        /// The event that was named.
        position: Position,
    },
    /// The database failed.
    #[error("the read-model database failed")]
    Database(#[from] sqlx::Error),
}

/// An operator's decision to let a projection pass over one event.
#[derive(Debug, Clone)]
pub struct Skip {
    /// Whose ledger.
    pub tenant: TenantId,
    /// Which projection.
    pub read_model: ReadModel,
    /// The event; the projection must be parked right before it.
    pub position: Position,
    /// Who decided.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// How many of these tenants are parked, and the first of them.
pub(crate) fn listed<'a>(
    checkpoints: impl Iterator<Item = (&'a TenantId, &'a Checkpoint)>,
) -> (u64, Vec<ParkedTenant>) {
    let parked = |(tenant, checkpoint): (&TenantId, &Checkpoint)| {
        let error = checkpoint.parked.clone()?;
        Some(ParkedTenant { tenant: tenant.clone(), position: checkpoint.position, error })
    };
    let mut parked: Vec<ParkedTenant> = checkpoints.filter_map(parked).collect();
    let count = parked.len() as u64;
    parked.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    parked.truncate(PARKED_LISTED_MAX);
    (count, parked)
}

/// Moves a parked checkpoint past one event and keeps a record of it, in one transaction.
pub(crate) async fn skip(writer: &mut OwnConnection, skip: &Skip) -> Result<(), SkipError> {
    let mut transaction = writer.begin_writing().await?;
    let mut connection = transaction.connection();
    let all = checkpoint::load_all(&mut connection, skip.read_model).await?;
    let refused = SkipError::NotParkedThere { position: skip.position };
    let Some(Checkpoint { position, parked: Some(error) }) = all.get(&skip.tenant) else {
        return Err(refused);
    };
    if position.next() != skip.position {
        return Err(refused);
    }
    // A rebuild that began before the first skip parks there once more; the first record stands.
    sql("INSERT INTO skips (tenant_id, projection, version, position, actor, reason, skipped_at, error) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (tenant_id, projection, version, position) DO NOTHING")
    .bind(skip.tenant.as_str())
    .bind(skip.read_model.name())
    .bind(skip.read_model.version())
    .bind(place(skip.position.0))
    .bind(skip.actor.as_str())
    .bind(skip.reason.as_str())
    .bind(micros(skip.at))
    .bind(error.as_str())
    .execute(&mut connection)
    .await?;
    let moved = Move {
        tenant: skip.tenant.clone(),
        from: *position,
        to: Checkpoint { position: skip.position, parked: None },
    };
    let moved = Moved { read_model: skip.read_model, moves: vec![moved], recounts: Vec::new() };
    checkpoint::compare_and_set(&mut connection, &[moved], &[]).await?;
    transaction.commit().await?;
    Ok(())
}

/// Drops all that was made from these tenants' ledgers, checkpoints too; the runner makes it again. What operators skipped stays skipped.
pub(crate) async fn drop_tenants(
    writer: &mut OwnConnection,
    tenants: &[&TenantId],
) -> Result<(), sqlx::Error> {
    let tables = || ReadModel::ALL.into_iter().flat_map(ReadModel::tables).chain(&["checkpoints"]);
    for tenant in tenants {
        let mut transaction = writer.begin_writing().await?;
        for table in tables() {
            let delete = format!("DELETE FROM {table} WHERE tenant_id = $1");
            sql(delete).bind(tenant.as_str()).execute(&mut transaction.connection()).await?;
        }
        transaction.commit().await?;
    }
    Ok(())
}

/// Drops the rows that another version of a projection's code made, tenant by tenant; the runner builds them again. Only for the one who
/// keeps the read models: to another process of that version, they are what it answers from.
pub(crate) async fn drop_other_versions(writer: &mut OwnConnection) -> Result<(), sqlx::Error> {
    for read_model in ReadModel::ALL {
        let select = format!("SELECT tenant_id FROM checkpoints WHERE {}_version <> $1", read_model.name());
        let others = sql(select).bind(read_model.version()).rows(&mut writer.connection()).await?;
        for other in &others {
            drop_other_version(writer, read_model, other.value()?).await?;
        }
        if !others.is_empty() {
            let (projection, tenants) = (read_model.name(), others.len());
            tracing::warn!(projection, tenants, "rows of another version are made again");
        }
    }
    Ok(())
}

/// Drops what another version made of one tenant, unless this version did so meanwhile. A checkpoint at the beginning stays, by which
/// readers tell rows that are still to come from a tenant that has none ([`checkpoint::readable`]).
async fn drop_other_version(
    writer: &mut OwnConnection,
    read_model: ReadModel,
    tenant: &str,
) -> Result<(), sqlx::Error> {
    let mut transaction = writer.begin_writing().await?;
    let mut connection = transaction.connection();
    let name = read_model.name();
    let begin = format!(
        "UPDATE checkpoints SET {name}_version = $2, {name}_position = 0, {name}_error = NULL \
         WHERE tenant_id = $1 AND {name}_version <> $2"
    );
    let begun = sql(begin).bind(tenant).bind(read_model.version()).execute(&mut connection).await?;
    if begun > 0 {
        drop_rows(&mut connection, read_model, &[tenant]).await?;
    }
    transaction.commit().await
}

/// Empties a read model's tables of these tenants' rows, and drops what was not counted there yet.
pub(crate) async fn drop_rows(
    connection: &mut Connection<'_>,
    read_model: ReadModel,
    tenants: &[&str],
) -> Result<(), sqlx::Error> {
    let (items, by_bytes) = (connection.dialect().json_items("$1"), connection.dialect().by_bytes());
    let tenants = serde_json::to_string(tenants).expect("slugs are JSON");
    let of_tenants = format!("WHERE tenant_id IN (SELECT item.value{by_bytes} FROM {items})");
    for table in read_model.tables() {
        let delete = format!("DELETE FROM {table} {of_tenants}");
        sql(delete).bind(tenants.as_str()).execute(connection).await?;
    }
    if read_model == ReadModel::Statistics {
        let forget =
            format!("UPDATE checkpoints SET uncounted = NULL {of_tenants} AND uncounted IS NOT NULL");
        sql(forget).bind(tenants.as_str()).execute(connection).await?;
    }
    Ok(())
}
