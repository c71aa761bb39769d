//! Compares two read-model databases row by row: "the read models equal a rebuild", and shadow replays.
//! Used by tests, `verify`-like tools and the rebuild's own check; it knows tables, not what they mean.

use std::path::Path;

use formledger_domain::TenantId;
use serde::Serialize;
use sqlx::{Connection, SqliteConnection};

use crate::columns;
use crate::position::ReadModel;
use crate::read_models::connect_reader;

/// The most differences told per table and side.
pub const ROW_DIFFERENCES_MAX: u32 = 1000;

/// A row that only one of two databases holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowDifference {
    /// Whose row.
    pub tenant: TenantId,
    /// In which table.
    pub table: &'static str,
    /// Which database holds it.
    pub only_in: Side,
    /// Its columns as SQL literals, in the table's order.
    pub row: String,
}

/// One of two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The first.
    Left,
    /// The second.
    Right,
}

/// The rows of these read models that are in one database and not in the other; of one tenant, or of all. Checkpoints count as rows:
/// databases that reflect different positions differ.
///
/// # Errors
/// When one of the files cannot be read.
pub async fn compare(
    left: &Path,
    right: &Path,
    read_models: &[ReadModel],
    tenant: Option<&TenantId>,
) -> Result<Vec<RowDifference>, sqlx::Error> {
    let mut connection = connect_reader(left).await?;
    attach(&mut connection, right).await?;
    let mut differences = Vec::new();
    for read_model in read_models {
        for table in read_model.tables() {
            let columns = columns_of(&mut connection, table).await?;
            let all = "1";
            compare_table(&mut connection, table, &columns, all, tenant, &mut differences).await?;
        }
        // `previous` depends on how events fell into batches.
        let columns =
            ["tenant_id", "projection", "version", "position", "status", "error"].map(str::to_owned);
        let own = format!("projection = '{}'", read_model.name());
        compare_table(&mut connection, "checkpoints", &columns, &own, tenant, &mut differences).await?;
    }
    connection.close().await?;
    Ok(differences)
}

async fn compare_table(
    connection: &mut SqliteConnection,
    table: &'static str,
    columns: &[String],
    filter: &str,
    tenant: Option<&TenantId>,
    differences: &mut Vec<RowDifference>,
) -> Result<(), sqlx::Error> {
    let row =
        columns.iter().map(|column| format!("quote({column})")).collect::<Vec<_>>().join(" || ', ' || ");
    let rows = |schema: &str| {
        format!(
            "SELECT tenant_id, {row} AS row FROM {schema}.{table} WHERE {filter} AND (?1 IS NULL OR tenant_id = ?1)"
        )
    };
    for (side, one, other) in [(Side::Left, "main", "other"), (Side::Right, "other", "main")] {
        let select = format!("{} EXCEPT {} ORDER BY 1, 2 LIMIT ?2", rows(one), rows(other));
        let found: Vec<(String, String)> = sqlx::query_as(&select)
            .bind(tenant.map(TenantId::as_str))
            .bind(ROW_DIFFERENCES_MAX)
            .fetch_all(&mut *connection)
            .await?;
        for (tenant, row) in found {
            differences.push(RowDifference { tenant: columns::tenant(&tenant)?, table, only_in: side, row });
        }
    }
    Ok(())
}

/// Makes another database visible to this connection as `other`.
pub(crate) async fn attach(connection: &mut SqliteConnection, path: &Path) -> Result<(), sqlx::Error> {
    let path = path.to_str().ok_or_else(|| {
        sqlx::Error::Configuration(format!("`{}` is not UTF-8, which SQLite needs", path.display()).into())
    })?;
    sqlx::query("ATTACH DATABASE ? AS other").bind(path).execute(connection).await?;
    Ok(())
}

/// A table's columns in order.
pub(crate) async fn columns_of(
    connection: &mut SqliteConnection,
    table: &str,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT name FROM pragma_table_info(?) ORDER BY cid")
        .bind(table)
        .fetch_all(connection)
        .await
}
