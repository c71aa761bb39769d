//! Which replica answers a query: one that answers at all, is new enough for this reader, and has the least to do. Used by the reader only.

use std::cmp::Reverse;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};

use formledger_domain::Position;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::checkpoint;
use crate::database::{Connection, Transaction};
use crate::health::is_recovery_conflict;
use crate::position::{Behind, ReadModel};
use crate::read_models::ReadModels;
use crate::reader::{QUERY_TIMEOUT, QueryError, TenantReader};
use crate::shares::Share;

/// Replicas that are this many events apart are as good as one another; what a slower one is behind beyond that counts against it before
/// its load does.
const AS_NEW_EVENTS: u64 = 500;
/// How often a query is asked again because a standby cleaned up the rows it read.
const CONFLICTS_MAX: u32 = 3;

/// What a reader must not go behind, by read model.
#[derive(Debug, Default)]
pub(crate) struct Floor([AtomicU64; ReadModel::ALL.len()]);

impl Floor {
    pub(crate) fn raise(&self, read_model: ReadModel, position: Position) {
        self.0[read_model as usize].fetch_max(position.0, Ordering::Relaxed);
    }

    fn of(&self, read_model: ReadModel) -> Position {
        Position(self.0[read_model as usize].load(Ordering::Relaxed))
    }
}

/// One query on its way to an answer.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    reader: &'a TenantReader,
    read_model: ReadModel,
    floor: Position,
    /// Replicas not asked yet, the best one last.
    left: Vec<&'a ReadModels>,
    conflicts: u32,
    /// The furthest replica that was not new enough.
    behind: Option<Behind>,
    /// Why the last one failed.
    error: Option<QueryError>,
}

/// A read transaction on the chosen replica, and the position that everything read in it reaches.
#[derive(Debug)]
pub(crate) struct Snapshot<'a> {
    pub(crate) position: Position,
    /// With the share of the connection; gone when it is dropped.
    held: Option<(Transaction<'static>, Share)>,
    replica: Asked<'a>,
}

/// A replica, counted as busy with one query more.
#[derive(Debug)]
struct Asked<'a>(&'a ReadModels);

impl<'a> Asked<'a> {
    fn new(replica: &'a ReadModels) -> Self {
        replica.health().asked();
        Self(replica)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.health().answered();
    }
}

impl Snapshot<'_> {
    pub(crate) fn connection(&mut self) -> Connection<'_> {
        self.held.as_mut().expect("it is held until it is dropped").0.connection()
    }
}

impl Drop for Snapshot<'_> {
    /// A query that was given up goes on in its connection, which is in use for so long: only then is the share of it free.
    fn drop(&mut self) {
        let (Some((transaction, share)), Ok(runtime)) = (self.held.take(), Handle::try_current()) else {
            return;
        };
        runtime.spawn(async move {
            // Of one that failed, the pool makes a new connection.
            let _failed = transaction.rollback().await;
            drop(share);
        });
    }
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(reader: &'a TenantReader, read_model: ReadModel) -> Self {
        let floor = reader.floor.of(read_model);
        let left = ranked(reader, read_model, floor);
        Self { reader, read_model, floor, left, conflicts: 0, behind: None, error: None }
    }

    /// A snapshot of the next best replica that is new enough.
    ///
    /// # Errors
    /// Why there is none: what the last one failed with, else how far they reach.
    pub(crate) async fn next(&mut self) -> Result<Snapshot<'a>, QueryError> {
        while let Some(replica) = self.left.pop() {
            let asked = Asked::new(replica);
            let Some(share) = replica.shares().take(&self.reader.tenant).await else {
                // Its queries on another replica are others.
                self.error = Some(QueryError::ShareTaken);
                continue;
            };
            match self.snapshot(replica).await {
                Ok((transaction, Some(position))) if position >= self.floor => {
                    self.reader.floor.raise(self.read_model, position);
                    return Ok(Snapshot { position, held: Some((transaction, share)), replica: asked });
                }
                Ok((_, position)) => {
                    // Rows of another version are to be made again; until then there are none for this one.
                    let position = position.unwrap_or_default();
                    let furthest = self.behind.map_or(position, |behind| behind.position.max(position));
                    self.behind = Some(Behind { position: furthest });
                }
                Err(error) => self.note(replica, error.into())?,
            }
        }
        // A reader that is told "behind" tries again later, which is right as soon as one replica answers.
        match (self.behind, self.error.take()) {
            (Some(behind), _) => Err(behind.into()),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Behind { position: Position::START }.into()),
        }
    }

    async fn snapshot(
        &self,
        replica: &ReadModels,
    ) -> Result<(Transaction<'static>, Option<Position>), sqlx::Error> {
        let tenant = &self.reader.tenant;
        let before = replica.applied().known(tenant, self.read_model);
        let mut transaction = replica.readers().snapshot_for(tenant, QUERY_TIMEOUT).await?;
        let mut connection = transaction.connection();
        let asked = checkpoint::readable(&mut connection, tenant, self.read_model);
        let position = timeout(QUERY_TIMEOUT, asked)
            .await
            .map_err(|_| sqlx::Error::Io(ErrorKind::TimedOut.into()))??;
        // If it went back, whoever waits must not be told otherwise.
        if replica.applied().holds(tenant, self.read_model, before, position.unwrap_or_default()) {
            // Nobody else may tell who waits for it.
            replica.applied().announce();
        }
        Ok((transaction, position))
    }

    /// Takes note that a query failed. Goes on at another replica when it is the replica's fault.
    ///
    /// # Errors
    /// The error itself when another replica would say the same.
    pub(crate) fn failed(&mut self, snapshot: &Snapshot<'a>, error: QueryError) -> Result<(), QueryError> {
        self.note(snapshot.replica.0, error)
    }

    fn note(&mut self, replica: &'a ReadModels, error: QueryError) -> Result<(), QueryError> {
        match &error {
            QueryError::Database(source)
                if is_recovery_conflict(source) && self.conflicts < CONFLICTS_MAX =>
            {
                self.conflicts += 1;
                self.left.push(replica);
            }
            // One that is alone is asked whatever happened before.
            QueryError::Busy if self.reader.replicas.len() > 1 => {
                replica.take_out(&sqlx::Error::PoolTimedOut)
            }
            QueryError::Unreachable(source) if self.reader.replicas.len() > 1 => replica.take_out(source),
            _ => return Err(error),
        }
        self.error = Some(error);
        Ok(())
    }
}

/// The replicas in the order to ask them, the best one last: those that answer, those known to be new enough, those that do not stand still, the newest,
/// the least busy. The last of the list serves when the others do not. Where all stand still, the one that came furthest.
fn ranked(reader: &TenantReader, read_model: ReadModel, floor: Position) -> Vec<&ReadModels> {
    let replicas = &*reader.replicas;
    if let [only] = replicas {
        return vec![only];
    }
    // Of another ledger's rows there is nothing to answer, whatever else fails.
    let replicas: Vec<&ReadModels> = replicas.iter().filter(|replica| replica.health().is_proven()).collect();
    let known: Vec<Position> =
        replicas.iter().map(|replica| replica.applied().known(&reader.tenant, read_model)).collect();
    let newest = known.iter().max().map_or(0, |newest| newest.0);
    let count = replicas.len();
    let mut ranked: Vec<_> = replicas
        .into_iter()
        .zip(known)
        .enumerate()
        .map(|(place, (replica, known))| {
            let stale = replica.standing().stale_at(&reader.tenant, read_model, known).map(Reverse);
            let behind = (newest - known.0) / AS_NEW_EVENTS;
            let last_resort = place + 1 == count;
            let load = replica.health().load();
            // One that is not stale comes before all that are.
            let worse = (!replica.health().is_in(), known < floor, stale, last_resort, behind, load);
            (worse, replica)
        })
        .collect();
    // Stable: equals stay in order, and the load tells them apart as soon as one of them is asked.
    ranked.sort_by(|(a, _), (b, _)| b.cmp(a));
    ranked.into_iter().map(|(_, replica)| replica).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::Utc;
    use formledger_domain::TenantContext;

    use super::*;
    use crate::database::sql;
    use crate::read_models::ReadModelSettings;

    #[tokio::test]
    async fn queries_of_one_tenant_leave_connections_to_others() {
        let directory = tempfile::tempdir().expect("a directory");
        let settings =
            ReadModelSettings { read_connections_max: 4, acquire_timeout: Duration::from_millis(100) };
        let models = ReadModels::open_sqlite(&directory.path().join("read-models.db"), settings).await;
        let models = models.expect("read models");
        let reader = |tenant: &str| {
            models.reader(&TenantContext::system(tenant.parse().expect("a slug"), "test", Utc::now()))
        };
        let (big, small) = (reader("big"), reader("small"));
        let mut slow = Vec::new();
        for _ in 0..3 {
            slow.push(Attempt::new(&big, ReadModel::Forms).next().await.expect("its share"));
        }
        assert!(matches!(big.forms().await, Err(QueryError::ShareTaken)));
        assert!(small.forms().await.is_ok(), "there is room for others");
        slow.pop();
        assert!(big.forms().await.is_ok(), "one was answered");

        // Of one that is given up, the connection is in use until its statement ends.
        let mut given_up = Attempt::new(&big, ReadModel::Forms).next().await.expect("its share");
        let counting = sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT count(*) FROM n",
        );
        assert!(timeout(Duration::from_millis(1), counting.one(&mut given_up.connection())).await.is_err());
        drop(given_up);
        assert_eq!(models.shares().left(&"big".parse().expect("a slug")), 0, "it is still counted");
        assert!(small.forms().await.is_ok());
    }
}
