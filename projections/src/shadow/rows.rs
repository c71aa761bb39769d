//! Live rows and shadow rows of one tenant side by side, in the order of their keys, so that neither side is held in memory. A shadow is a
//! SQLite file; live rows may be in Postgres, so what is compared are values, not how a database writes them.

use std::cmp::Ordering;

use formledger_domain::TenantId;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use serde_json::{Map, Value};

use super::{SHADOW_DIFFERENCES_TOLD_MAX, ShadowDifference};
use crate::compare::columns_of;
use crate::database::{Cell, Connection, Dialect, Row, Sql, sql};
use crate::position::ReadModel;
use crate::statistics;
use crate::submissions::described_field_key;

/// Characters of a text that a difference shows; longer ones are cut.
const SHOWN_CHARS_MAX: usize = 1_000;

/// The column whose bytes are keys of fields.
const FIELD_KEY: &str = "field_key";

/// What comparing found.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) rows: u64,
    pub(super) differences: u64,
    pub(super) told: Vec<ShadowDifference>,
}

/// A table as both sides have it.
struct Table {
    read_model: ReadModel,
    name: &'static str,
    /// The key's columns first.
    columns: Vec<String>,
    key_columns: usize,
}

/// Compares all tables of a read model, whose checkpoint is the same on both sides.
pub(super) async fn compare(
    live: &mut Connection<'_>,
    shadow: &mut Connection<'_>,
    tenant: &TenantId,
    read_model: ReadModel,
) -> Result<Compared, sqlx::Error> {
    let mut compared = Compared::default();
    for name in read_model.tables() {
        let table = Table::read(shadow, read_model, name).await?;
        let before = compared.told.len();
        let (live_rows, shadow_rows) =
            (table.rows(live.dialect(), tenant), table.rows(shadow.dialect(), tenant));
        let mut sides = (live_rows.stream(live)?, shadow_rows.stream(shadow)?);
        let (mut one, mut other) = (next(&mut sides.0).await?, next(&mut sides.1).await?);
        loop {
            let order = match (&one, &other) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => table.order(a, b),
            };
            let (of_live, of_shadow) =
                (one.take_if(|_| order != Ordering::Greater), other.take_if(|_| order != Ordering::Less));
            compared.rows += 1;
            for difference in table.differences(of_live.as_deref(), of_shadow.as_deref()) {
                compared.differences += 1;
                if compared.told.len() - before < SHADOW_DIFFERENCES_TOLD_MAX {
                    compared.told.push(difference);
                }
            }
            if order != Ordering::Greater {
                one = next(&mut sides.0).await?;
            }
            if order != Ordering::Less {
                other = next(&mut sides.1).await?;
            }
        }
    }
    Ok(compared)
}

impl Table {
    /// The columns, from the shadow's schema: its first unique index is the key, which the migrations declare in both databases.
    async fn read(
        shadow: &mut Connection<'_>,
        read_model: ReadModel,
        name: &'static str,
    ) -> Result<Self, sqlx::Error> {
        let key = "SELECT i.name FROM pragma_index_info((SELECT name FROM pragma_index_list($1) \
                   WHERE \"unique\" ORDER BY origin = 'pk' DESC, name LIMIT 1)) AS i ORDER BY i.seqno";
        let key = sql(key).bind(name).rows(shadow).await?;
        // The tenant is the same in all of them.
        let mut columns: Vec<String> = key.iter().map(Row::value).collect::<Result<_, _>>()?;
        columns.retain(|column| column != "tenant_id");
        let key_columns = columns.len();
        let all = columns_of(shadow, name).await?;
        let others = all.into_iter().filter(|column| column != "tenant_id" && !columns.contains(column));
        let others: Vec<String> = others.collect();
        columns.extend(others);
        Ok(Self { read_model, name, columns, key_columns })
    }

    /// Its rows in the order of the key: texts by their bytes in both databases, as the migrations declare the columns.
    fn rows<'q>(&self, dialect: Dialect, tenant: &'q TenantId) -> Sql<'q> {
        let (columns, key) = (self.columns.join(", "), self.columns[..self.key_columns].join(", "));
        let rows = statistics::counted(dialect, self.name, "tenant_id = $1");
        sql(format!("SELECT {columns} FROM {rows} WHERE tenant_id = $1 ORDER BY {key}")).bind(tenant.as_str())
    }

    fn order(&self, live: &[Cell], shadow: &[Cell]) -> Ordering {
        live[..self.key_columns].partial_cmp(&shadow[..self.key_columns]).unwrap_or(Ordering::Equal)
    }

    fn differences(&self, live: Option<&[Cell]>, shadow: Option<&[Cell]>) -> Vec<ShadowDifference> {
        let key = live.or(shadow).map_or_else(Map::new, |row| self.shown(&row[..self.key_columns]));
        let difference = |field: Option<&String>, live: Value, shadow: Value| ShadowDifference {
            read_model: self.read_model,
            table: self.name,
            key: key.clone(),
            field: field.cloned(),
            live,
            shadow,
        };
        match (live, shadow) {
            (Some(live), Some(shadow)) if live == shadow => Vec::new(),
            (Some(live), Some(shadow)) => {
                let fields = self.columns.iter().zip(live.iter().zip(shadow));
                let differing = fields.filter(|(_, (live, shadow))| live != shadow);
                differing
                    .map(|(field, (live, shadow))| {
                        difference(Some(field), shown((field, live)), shown((field, shadow)))
                    })
                    .collect()
            }
            (live, shadow) => {
                let whole = |row: Option<&[Cell]>| row.map_or(Value::Null, |row| self.shown(row).into());
                vec![difference(None, whole(live), whole(shadow))]
            }
        }
    }

    /// A row, or its beginning, with the names of its columns.
    fn shown(&self, row: &[Cell]) -> Map<String, Value> {
        self.columns.iter().zip(row).map(|cell| (cell.0.clone(), shown(cell))).collect()
    }
}

fn shown((column, cell): (&String, &Cell)) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => (*number).into(),
        Cell::Real(number) => (*number).into(),
        Cell::Text(text) => text.chars().take(SHOWN_CHARS_MAX).collect::<String>().into(),
        // Ids and keys of fields are the only bytes in these tables.
        Cell::Bytes(bytes) => {
            let said = match column.as_str() {
                FIELD_KEY => described_field_key(bytes),
                _ => uuid::Uuid::from_slice(bytes).ok().map(|id| id.to_string()),
            };
            said.unwrap_or_else(|| format!("{} bytes", bytes.len())).into()
        }
    }
}

async fn next(rows: &mut BoxStream<'_, Result<Row, sqlx::Error>>) -> Result<Option<Vec<Cell>>, sqlx::Error> {
    rows.try_next().await?.map(|row| row.cells()).transpose()
}
