//! Compares two sets of read models row by row: "the read models equal a rebuild", and shadow replays.
//! Used by tests, `verify`-like tools and the rebuild's own check; it knows tables, not what they mean.

use formledger_domain::TenantId;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use serde::Serialize;

use crate::columns;
use crate::database::{Connection, Dialect, Row, Sql, sql};
use crate::place::ReadModelPlace;
use crate::pool::ReadPool;
use crate::position::ReadModel;
use crate::read_models::ReadModelSettings;
use crate::statistics;

/// The most differences told per table and side.
pub const ROW_DIFFERENCES_MAX: u32 = 1000;

/// A row that only one of two places holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowDifference {
    /// Whose row.
    pub tenant: TenantId,
    /// In which table.
    pub table: &'static str,
    /// Which place holds it.
    pub only_in: Side,
    /// Its columns as SQL literals, in the table's order.
    pub row: String,
}

/// One of two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The first.
    Left,
    /// The second.
    Right,
}

/// The rows of these read models that are in one place and not in the other; of one tenant, or of all. Checkpoints count as rows:
/// places that reflect different positions differ.
///
/// Both places are of the same kind, because a number is written differently in each.
///
/// # Errors
/// When one of them cannot be read.
pub async fn compare(
    left: &ReadModelPlace,
    right: &ReadModelPlace,
    read_models: &[ReadModel],
    tenant: Option<&TenantId>,
) -> Result<Vec<RowDifference>, sqlx::Error> {
    let settings = ReadModelSettings { read_connections_max: 1, ..ReadModelSettings::default() };
    let pools = [left, right].map(|place| ReadPool::new(&place.0, &settings));
    let mut snapshots = [pools[0].snapshot_of_all().await?, pools[1].snapshot_of_all().await?];
    let [left, right] = &mut snapshots;
    let (mut left, mut right) = (left.connection(), right.connection());
    let mut differences = Vec::new();
    for read_model in read_models {
        for table in read_model.tables() {
            let columns = columns_of(&mut left, table).await?;
            compare_table(&mut left, &mut right, table, &columns, "1 = 1", tenant, &mut differences).await?;
        }
        let name = read_model.name();
        let columns = ["version", "position", "error"].map(|column| format!("{name}_{column}"));
        let begun = format!("{name}_version IS NOT NULL");
        compare_table(&mut left, &mut right, "checkpoints", &columns, &begun, tenant, &mut differences)
            .await?;
    }
    drop(snapshots);
    for pool in pools {
        pool.close().await;
    }
    Ok(differences)
}

/// Walks both tables in the same order, side by side, so that neither is held in memory.
async fn compare_table(
    left: &mut Connection<'_>,
    right: &mut Connection<'_>,
    table: &'static str,
    columns: &[String],
    filter: &str,
    tenant: Option<&TenantId>,
    differences: &mut Vec<RowDifference>,
) -> Result<(), sqlx::Error> {
    let (left_rows, right_rows) = (
        rows(left.dialect(), table, columns, filter, tenant),
        rows(right.dialect(), table, columns, filter, tenant),
    );
    let (mut left, mut right) = (left_rows.stream(left)?, right_rows.stream(right)?);
    let mut told = [0; 2];
    let (mut one, mut other) = (next(&mut left).await?, next(&mut right).await?);
    loop {
        let (side, row) = match (&one, &other) {
            (None, None) => return Ok(()),
            (Some(a), Some(b)) if a == b => {
                (one, other) = (next(&mut left).await?, next(&mut right).await?);
                continue;
            }
            (Some(a), Some(b)) if a > b => {
                (Side::Right, std::mem::replace(&mut other, next(&mut right).await?))
            }
            (Some(_), _) => (Side::Left, std::mem::replace(&mut one, next(&mut left).await?)),
            (None, Some(_)) => (Side::Right, std::mem::replace(&mut other, next(&mut right).await?)),
        };
        let Some((tenant, row)) = row else { continue };
        let told = &mut told[side as usize];
        if *told < ROW_DIFFERENCES_MAX {
            *told += 1;
            differences.push(RowDifference { tenant: columns::tenant(&tenant)?, table, only_in: side, row });
        }
    }
}

/// All rows of a table as literals, in their order by bytes.
fn rows<'q>(
    dialect: Dialect,
    table: &str,
    columns: &[String],
    filter: &str,
    tenant: Option<&'q TenantId>,
) -> Sql<'q> {
    let row = columns.iter().map(|column| dialect.quoted(column)).collect::<Vec<_>>().join(" || ', ' || ");
    let by_bytes = dialect.by_bytes();
    let rows = statistics::counted(dialect, table, "($1 IS NULL OR tenant_id = $1)");
    sql(format!(
        "SELECT tenant_id, ({row}){by_bytes} AS shown FROM {rows} \
         WHERE {filter} AND ($1 IS NULL OR tenant_id = $1) ORDER BY 1, 2"
    ))
    .bind(tenant.map(TenantId::as_str))
}

/// A row's tenant and literals.
type Shown = (String, String);

async fn next(rows: &mut BoxStream<'_, Result<Row, sqlx::Error>>) -> Result<Option<Shown>, sqlx::Error> {
    let row = rows.try_next().await?;
    row.map(|row| Ok((row.get("tenant_id")?, row.get("shown")?))).transpose()
}

/// A table's columns in order.
pub(crate) async fn columns_of(
    connection: &mut Connection<'_>,
    table: &str,
) -> Result<Vec<String>, sqlx::Error> {
    let select = match connection.dialect() {
        Dialect::Sqlite => "SELECT name FROM pragma_table_info($1) ORDER BY cid",
        Dialect::Postgres => {
            "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 \
             AND NOT attisdropped ORDER BY attnum"
        }
    };
    let rows = sql(select).bind(table).rows(connection).await?;
    rows.iter().map(Row::value).collect()
}
