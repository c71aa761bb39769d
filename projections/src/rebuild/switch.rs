//! Puts a tenant's fresh rows in the place of its live ones, one transaction for each tenant: nobody else's rows are touched, and a live
//! projector waits for one tenant at a time. [`whole`](super::whole) does so with all of them at once.

use formledger_domain::{Position, TenantId};

use super::fresh::Sides;
use super::{RebuildError, Rebuilding, fold_news};
use crate::checkpoint;
use crate::compare::columns_of;
use crate::database::{Connection, sql};
use crate::position::ReadModel;
use crate::schema;

impl Rebuilding {
    /// Replaces one tenant's live rows by the fresh ones, in one transaction on the live database; answers the position they reach.
    pub(super) async fn switch(&mut self, tenant: &TenantId) -> Result<Position, RebuildError> {
        self.catch_up(Some(tenant)).await?;
        let sides = self.sides;
        let fresh_checkpoints = format!("{}.checkpoints", sides.fresh);
        let mut transaction = self.live.begin_writing_beside().await?;
        fold_news(&mut self.projector, Some(tenant)).await?;
        let mut connection = transaction.connection();
        schema::hold(&mut connection).await?;
        let mut reached: Option<Position> = None;
        for read_model in &self.read_models {
            let fresh =
                checkpoint::position_in(&mut connection, &fresh_checkpoints, tenant, *read_model).await?;
            reached = Some(reached.map_or(fresh, |reached| reached.min(fresh)));
            for table in read_model.tables() {
                replace_rows(&mut connection, sides, table, tenant).await?;
            }
        }
        replace_checkpoints(&mut connection, sides, &self.read_models, Some(tenant)).await?;
        transaction.commit().await?;
        Ok(reached.unwrap_or_default())
    }
}

/// Replaces what checkpoints of one tenant or of all say of these read models; and which ledger their rows were made from, where all were made again: rows that
/// were not still reflect what stands there.
pub(super) async fn replace_checkpoints(
    transaction: &mut Connection<'_>,
    sides: Sides,
    read_models: &[ReadModel],
    only: Option<&TenantId>,
) -> Result<(), sqlx::Error> {
    for statement in replacing(sides, read_models, only.is_some()) {
        sql(statement).bind(only.map(TenantId::as_str)).execute(transaction).await?;
    }
    Ok(())
}

/// The statements for that, of the tenant `$1` or of all: drop or empty what has no fresh row, add rows that are missing, take over what differs.
fn replacing(sides: Sides, read_models: &[ReadModel], of_one: bool) -> [String; 3] {
    let (live, fresh) = (format!("{}.checkpoints", sides.live), format!("{}.checkpoints AS f", sides.fresh));
    let columns = |read_model: &ReadModel| {
        ["version", "position", "error"].map(|column| format!("{}_{column}", read_model.name()))
    };
    let mut replaced: Vec<String> = read_models.iter().flat_map(columns).collect();
    if read_models.contains(&ReadModel::Statistics) {
        replaced.push("uncounted".to_owned());
    }
    let all = ReadModel::ALL.iter().all(|read_model| read_models.contains(read_model));
    let unknown = if all {
        replaced.extend(["reflected_position", "reflected_hash", "first_hash"].map(str::to_owned));
        format!("DELETE FROM {live} AS l")
    } else {
        let nothing = read_models.iter().map(|one| {
            let name = one.name();
            let uncounted = if *one == ReadModel::Statistics { ", uncounted = NULL" } else { "" };
            format!("{name}_version = NULL, {name}_position = 0, {name}_error = NULL{uncounted}")
        });
        format!("UPDATE {live} AS l SET {}", nothing.collect::<Vec<_>>().join(", "))
    };
    // Written out, because SQLite would look at all tenants for a condition that holds for all or for one.
    let asked = |side: &str| if of_one { format!("{side}.tenant_id = $1") } else { "$1 IS NULL".to_owned() };
    let (of_live, of_fresh) = (asked("l"), asked("f"));
    let known = replaced.iter().map(|column| format!("{column} = f.{column}")).collect::<Vec<_>>().join(", ");
    let differs = replaced.iter().map(|column| format!("f.{column} IS DISTINCT FROM l.{column}"));
    let differs = differs.collect::<Vec<_>>().join(" OR ");
    [
        format!(
            "{unknown} WHERE {of_live} AND NOT EXISTS \
             (SELECT 1 FROM {fresh} WHERE f.tenant_id = l.tenant_id)"
        ),
        format!(
            "INSERT INTO {live} (tenant_id) SELECT f.tenant_id FROM {fresh} WHERE {of_fresh} \
             ON CONFLICT (tenant_id) DO NOTHING"
        ),
        format!(
            "UPDATE {live} AS l SET {known} FROM {fresh} WHERE {of_live} \
             AND f.tenant_id = l.tenant_id AND ({differs})"
        ),
    ]
}

/// Replaces a tenant's rows in the live table by those in the fresh one.
async fn replace_rows(
    transaction: &mut Connection<'_>,
    sides: Sides,
    table: &str,
    tenant: &TenantId,
) -> Result<(), sqlx::Error> {
    let Sides { live, fresh } = sides;
    let columns = columns_of(transaction, table).await?.join(", ");
    let delete = format!("DELETE FROM {live}.{table} WHERE tenant_id = $1");
    sql(delete).bind(tenant.as_str()).execute(transaction).await?;
    let insert = format!(
        "INSERT INTO {live}.{table} ({columns}) SELECT {columns} FROM {fresh}.{table} WHERE tenant_id = $1"
    );
    sql(insert).bind(tenant.as_str()).execute(transaction).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::{ReadModelPlace, suffixed};
    use crate::read_models::{ReadModelSettings, ReadModels};

    /// A rebuild may switch as many tenants one by one as there are: none of them may look at all.
    #[tokio::test]
    async fn sqlite_switches_one_tenant_by_its_key() {
        let folder = tempfile::tempdir().expect("a directory");
        let live = folder.path().join("live.db");
        let fresh = suffixed(&live, ".fresh");
        for file in [&live, &fresh] {
            let place = ReadModelPlace::file(file);
            ReadModels::open(place, ReadModelSettings::default()).await.expect("opens").close().await;
        }
        let ReadModelPlace(place) = ReadModelPlace::file(&live);
        let mut connection = place.connect_writer().await.expect("connects");
        let mut connection = connection.connection();
        let attach = sql("ATTACH DATABASE $1 AS fresh").bind(fresh.display().to_string());
        attach.execute(&mut connection).await.expect("attaches");
        let sides = Sides { live: "main", fresh: "fresh" };
        for read_models in [&ReadModel::ALL[..], &[ReadModel::Forms]] {
            for statement in replacing(sides, read_models, true) {
                let explain = sql(format!("EXPLAIN QUERY PLAN {statement}")).bind("acme");
                let plan = explain.rows(&mut connection).await.expect("a plan");
                let steps: Vec<String> =
                    plan.iter().map(|step| step.get("detail").expect("a step")).collect();
                assert!(!steps.is_empty() && !steps.iter().any(|step| step.starts_with("SCAN")), "{steps:?}");
            }
        }
    }
}
