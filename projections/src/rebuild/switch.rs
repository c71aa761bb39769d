//! Puts a tenant's fresh rows in the place of its live ones, one transaction for each tenant: nobody else's rows are touched, and a live
//! projector waits for one tenant at a time. [`whole`](super::whole) does so with all of them at once.

use formledger_domain::{Position, TenantId};

use super::fresh::Sides;
use super::{RebuildError, Rebuilding, fold_news};
use crate::checkpoint;
use crate::compare::columns_of;
use crate::database::{Connection, sql};
use crate::schema;

impl Rebuilding {
    /// Replaces one tenant's live rows by the fresh ones, in one transaction on the live database; answers the position they reach.
    pub(super) async fn switch(&mut self, tenant: &TenantId) -> Result<Position, RebuildError> {
        self.catch_up(Some(tenant)).await?;
        let sides = self.sides;
        let fresh_checkpoints = format!("{}.checkpoints", sides.fresh);
        let all = self.builds_all();
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
                replace_rows(&mut connection, sides, table, "1 = 1", tenant).await?;
            }
            let own = format!("projection = '{}'", read_model.name());
            replace_rows(&mut connection, sides, "checkpoints", &own, tenant).await?;
        }
        // Rows that were not built again still reflect what their witness says.
        if all {
            replace_rows(&mut connection, sides, "witnesses", "1 = 1", tenant).await?;
        }
        transaction.commit().await?;
        Ok(reached.unwrap_or_default())
    }
}

/// Replaces a tenant's rows in the live table by those in the fresh one.
async fn replace_rows(
    transaction: &mut Connection<'_>,
    sides: Sides,
    table: &str,
    filter: &str,
    tenant: &TenantId,
) -> Result<(), sqlx::Error> {
    let Sides { live, fresh } = sides;
    let columns = columns_of(transaction, table).await?.join(", ");
    let delete = format!("DELETE FROM {live}.{table} WHERE {filter} AND tenant_id = $1");
    sql(delete).bind(tenant.as_str()).execute(transaction).await?;
    let insert = format!(
        "INSERT INTO {live}.{table} ({columns}) SELECT {columns} FROM {fresh}.{table} WHERE {filter} AND tenant_id = $1"
    );
    sql(insert).bind(tenant.as_str()).execute(transaction).await?;
    Ok(())
}
