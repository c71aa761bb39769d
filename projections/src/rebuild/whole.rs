//! Puts all fresh rows in the place of all live ones in one transaction (docs/adr/0009). In SQLite tables are emptied and filled as wholes, which
//! it does page by page and record by record, without looking at either; in Postgres [`swap`] exchanges the tables themselves.
//! Used when no single tenant was asked for and it is quick enough.

use std::collections::{BTreeMap, HashMap};

use formledger_domain::{Position, TenantId};
use tokio::time::sleep;

use super::fresh::Sides;
use super::swap::{self, Exchange};
use super::switch::replace_checkpoints;
use super::{Folded, RebuildError, Rebuilding, fold_news};
use crate::checkpoint::{self, Checkpoint};
use crate::database::{Connection, sql};
use crate::schema;

/// Bytes of fresh rows that are switched in at once. Other writers wait meanwhile: a second on a quiet machine, ten on one that has seven
/// things to do at a time, which leaves them two thirds of what they have patience for (`place::BUSY_TIMEOUT`).
const BYTES_MAX: u64 = 512 * 1024 * 1024;

/// How far fresh rows reach, by tenant.
pub(super) type Reached = BTreeMap<TenantId, Position>;
/// Those of one read model.
pub(super) type Checkpoints = HashMap<TenantId, Checkpoint>;

/// How an attempt to switch ended.
pub(super) enum Tried {
    Switched(Reached),
    /// Readers are about in the tables that were to be exchanged.
    InUse,
    /// Something else holds one of them.
    Held,
}

impl Rebuilding {
    /// Whether to switch all tenants at once. Beyond what others can wait for, tenants are switched one by one, unless one of them holds so
    /// much that its turn alone would take longer than this.
    pub(super) fn switches_whole(&self, folded: &Folded) -> bool {
        self.fresh.bytes() <= BYTES_MAX || folded.largest.saturating_mul(2) >= folded.total
    }

    /// Replaces all live rows by the fresh ones; answers the positions they reach. `None` when the tables were in use all the time, or were changed.
    pub(super) async fn switch_whole(&mut self, folded: &Folded) -> Result<Option<Reached>, RebuildError> {
        let tries = if self.make_ready().await? { 1 + swap::TRIES_MAX } else { 0 };
        for _ in 0..tries {
            self.catch_up(None).await?;
            match self.try_switch_whole(folded).await? {
                Tried::Switched(reached) => return Ok(Some(reached)),
                Tried::InUse => sleep(swap::PAUSE).await,
                Tried::Held => break,
            }
        }
        tracing::warn!("something holds the tables, or changed them: rows are replaced tenant by tenant");
        Ok(None)
    }

    /// One transaction on the live database.
    pub(super) async fn try_switch_whole(&mut self, folded: &Folded) -> Result<Tried, RebuildError> {
        let sides = self.sides;
        let mut transaction = self.live.begin_writing_beside().await?;
        fold_news(&mut self.projector, None).await?;
        let mut connection = transaction.connection();
        schema::hold(&mut connection).await?;
        let mut news = Vec::with_capacity(self.read_models.len());
        let fresh_checkpoints = format!("{}.checkpoints", sides.fresh);
        for read_model in &self.read_models {
            news.push(checkpoint::load_all_in(&mut connection, &fresh_checkpoints, *read_model).await?);
        }
        // Before the tables, which nobody can read from then on in Postgres.
        replace_checkpoints(&mut connection, sides, &self.read_models, None).await?;
        let switched = match &mut connection {
            Connection::Sqlite(_) | Connection::File(_) => {
                for table in self.read_models.iter().flat_map(|read_model| read_model.tables()) {
                    replace(&mut connection, sides, table).await?;
                }
                Exchange::Done
            }
            Connection::Postgres(connection, _) => {
                if swap::hold_fresh(connection, sides, &self.read_models).await? {
                    self.fresh.check_claim().await?;
                    swap::exchange(connection, sides, &self.read_models).await?
                } else {
                    Exchange::Held
                }
            }
        };
        let tried = match switched {
            Exchange::Done => {
                transaction.commit().await?;
                return Ok(Tried::Switched(reached(folded, &news)));
            }
            Exchange::Readers => Tried::InUse,
            Exchange::Held => Tried::Held,
        };
        transaction.rollback().await?;
        Ok(tried)
    }
}

fn position_of(checkpoints: &Checkpoints, tenant: &TenantId) -> Position {
    checkpoints.get(tenant).map(|checkpoint| checkpoint.position).unwrap_or_default()
}

/// The least position counts, of several read models.
pub(super) fn reached(folded: &Folded, read_models: &[Checkpoints]) -> Reached {
    let known = folded.tenants.iter().chain(&folded.gone).chain(read_models.iter().flat_map(HashMap::keys));
    known
        .map(|tenant| {
            let least = read_models.iter().map(|checkpoints| position_of(checkpoints, tenant)).min();
            (tenant.clone(), least.unwrap_or_default())
        })
        .collect()
}

/// Both statements are the ones that SQLite carries out on whole tables: both sides have the same columns and indexes.
async fn replace(connection: &mut Connection<'_>, sides: Sides, table: &str) -> Result<(), sqlx::Error> {
    let Sides { live, fresh } = sides;
    sql(format!("DELETE FROM {live}.{table}")).execute(connection).await?;
    sql(format!("INSERT INTO {live}.{table} SELECT * FROM {fresh}.{table}")).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::{ReadModelPlace, suffixed};
    use crate::position::ReadModel;
    use crate::read_models::{ReadModelSettings, ReadModels};

    /// What makes a switch of whole tables as quick as it is; SQLite says nothing when two tables are too different for it.
    #[tokio::test]
    async fn sqlite_takes_every_table_over_record_by_record() {
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
        for table in ReadModel::ALL.into_iter().flat_map(ReadModel::tables) {
            let explain = format!("EXPLAIN INSERT INTO main.{table} SELECT * FROM fresh.{table}");
            let program = sql(explain).rows(&mut connection).await.expect("a program");
            let whole =
                program.iter().any(|step| step.get::<&str>("opcode").expect("a step").starts_with("Row"));
            assert!(whole, "`{table}` is copied value by value: its two sides differ");
        }
    }
}
