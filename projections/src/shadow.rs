//! A shadow of one tenant's read models: built from the ledger by the very same projections, in a file of its own, and compared with the live
//! rows at the same position. Driven by replays; the live rows are only read, and the file goes with the shadow.

mod folder;
mod rows;

use std::path::{Path, PathBuf};
use std::time::Duration;

use formledger_domain::{Position, TenantId};
use formledger_store::{Store, causes};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use crate::ahead::Forward;
use crate::checkpoint;
use crate::database::{Connection, sql};
use crate::light::{drop_indexes, write_lightly};
use crate::place::{ReadModelPlace, sqlite_files};
use crate::pool::ReadPool;
use crate::position::ReadModel;
use crate::projector::{BatchLimits, ProjectError, Projector};
use crate::read_models::{OpenError, ReadModelSettings, ReadModels};
use crate::replicas::Replicas;
pub use folder::ShadowFolder;
use rows::Compared;

/// One batch of a shadow: small, because live queries and projectors share the cores and the disk with it.
const BATCH: BatchLimits = BatchLimits { events_max: 8_192, bytes_max: 16 * 1024 * 1024 };
/// The most differences that are told of one table; the others are counted.
pub const SHADOW_DIFFERENCES_TOLD_MAX: usize = 200;
/// How long live rows may take to reach the shadow before the comparison is given up.
const LIVE_PATIENCE: Duration = Duration::from_secs(30);
/// How often they are looked at meanwhile.
const LIVE_LOOK: Duration = Duration::from_millis(50);

/// Why a shadow cannot be built or compared.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// Its file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The ledger cannot be read, or a batch not be applied.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// A read-model database failed.
    #[error("the read-model database failed")]
    Database(#[from] sqlx::Error),
    /// Its file cannot be copied.
    #[error("the file for the shadow cannot be used")]
    File(#[from] std::io::Error),
    /// The live rows did not come as far as the shadow.
    #[error("the live rows of {replica} stay at position {position}, before the shadow at {wanted}")]
    LiveBehind {
        /// The database, as metrics name it.
        replica: String,
        /// Where they are.
        position: Position,
        /// Where the shadow is.
        wanted: Position,
    },
}

/// What comparing with all live rows found. One of several that is late or does not answer keeps no other from being compared.
#[derive(Debug, Default, Serialize)]
pub struct ShadowComparisons {
    /// Those that were compared.
    pub compared: Vec<ShadowComparison>,
    /// Those whose rows did not come as far as the shadow.
    pub behind: Vec<LateReplica>,
    /// Those that did not answer, as metrics name them.
    pub unavailable: Vec<String>,
    /// Why the last one was not compared.
    #[serde(skip)]
    failed: Option<ShadowError>,
}

/// A set of live rows that was not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LateReplica {
    /// The database, as metrics name it.
    pub replica: String,
    /// Where its rows are.
    pub position: Position,
    /// Where the shadow is.
    pub wanted: Position,
}

impl ShadowComparisons {
    /// Takes in what comparing with one set of live rows said.
    ///
    /// # Errors
    /// What no other one would say otherwise.
    pub fn add(
        &mut self,
        replica: String,
        compared: Result<ShadowComparison, ShadowError>,
    ) -> Result<(), ShadowError> {
        let error = match compared {
            Ok(comparison) => {
                self.compared.push(comparison);
                return Ok(());
            }
            Err(error) => error,
        };
        tracing::warn!(replica, error = causes(&error), "a replica is not compared");
        match &error {
            ShadowError::LiveBehind { position, wanted, .. } => {
                self.behind.push(LateReplica { replica, position: *position, wanted: *wanted });
            }
            ShadowError::Database(_) => self.unavailable.push(replica),
            _ => return Err(error),
        }
        self.failed = Some(error);
        Ok(())
    }

    /// Whether nothing was left out.
    pub fn is_whole(&self) -> bool {
        self.behind.is_empty() && self.unavailable.is_empty()
    }

    /// Why there is no comparison at all; `None` where there is one.
    pub fn nothing(&mut self) -> Option<ShadowError> {
        self.failed.take().filter(|_| self.compared.is_empty())
    }
}

/// One tenant's read models, built again beside the live ones.
#[derive(Debug)]
pub struct Shadow {
    projector: Projector,
    read_models: ReadModels,
    followed: Vec<ReadModel>,
    tenant: TenantId,
    forward: Forward,
    live_patience: Duration,
    /// What makes the indexes again that folding does without.
    indexes: Vec<String>,
    pub(crate) file: ShadowFile,
}

/// What a comparison with one set of live rows found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShadowComparison {
    /// The database, as metrics name it.
    pub replica: String,
    /// By read model.
    pub read_models: Vec<ComparedReadModel>,
    /// At most [`SHADOW_DIFFERENCES_TOLD_MAX`] of each table.
    #[serde(skip)]
    pub told: Vec<ShadowDifference>,
}

/// How one read model compares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedReadModel {
    /// Which one.
    pub read_model: ReadModel,
    /// The position that live and shadow rows reflect; where the shadow is, when the two could not meet.
    pub position: Position,
    /// Live rows and shadow rows with the same keys, and those that only one side has.
    pub rows: u64,
    /// Differences in all, told or not: fields that differ, and rows that one side lacks.
    pub differences: u64,
}

/// One thing that live and shadow rows do not agree on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShadowDifference {
    /// Of which read model.
    pub read_model: ReadModel,
    /// In which table.
    pub table: &'static str,
    /// The row, by the columns that tell it from others.
    pub key: Map<String, Value>,
    /// The column; null when one side lacks the whole row.
    pub field: Option<String>,
    /// What the live row holds; the whole row where `field` is null, and null where there is none.
    pub live: Value,
    /// What the shadow's holds, likewise.
    pub shadow: Value,
}

impl Shadow {
    /// An empty shadow in the file `path`, which nothing else uses. Events that operators let `live` pass over are passed over.
    ///
    /// # Errors
    /// When the file cannot be made or the live databases not be read.
    pub async fn begin(
        store: &Store,
        live: &Replicas,
        path: &Path,
        tenant: &TenantId,
        followed: &[ReadModel],
    ) -> Result<Self, ShadowError> {
        let mut shadow = Self::begin_in(store, live, ShadowFile(path.to_owned()), tenant, followed).await?;
        shadow.indexes = drop_indexes(&shadow.read_models).await?;
        Ok(shadow)
    }

    /// A shadow that goes on from a copy of `base`, which holds the same tenant's rows and nobody writes.
    pub(crate) async fn go_on_from(
        base: &ShadowFile,
        store: &Store,
        live: &Replicas,
        path: &Path,
        tenant: &TenantId,
    ) -> Result<Self, ShadowError> {
        let file = ShadowFile(path.to_owned());
        std::fs::copy(&base.0, &file.0)?;
        Self::begin_in(store, live, file, tenant, &ReadModel::ALL).await
    }

    async fn begin_in(
        store: &Store,
        live: &Replicas,
        file: ShadowFile,
        tenant: &TenantId,
        followed: &[ReadModel],
    ) -> Result<Self, ShadowError> {
        let place = ReadModelPlace::file(&file.0);
        let read_models = ReadModels::open_own(place, ReadModelSettings::default()).await?;
        write_lightly(&read_models).await?;
        for replica in live.all() {
            // One that does not answer is not compared either.
            if let Err(error) = pass_over(replica, &read_models, tenant).await {
                tracing::warn!(replica = replica.label(), error = causes(&error), "skips are not known");
            }
        }
        let mut projector = Projector::new(store.clone(), read_models.clone(), followed, BATCH);
        projector.load(false).await?;
        let (followed, tenant) = (followed.to_vec(), tenant.clone());
        let (forward, indexes) = (Forward::default(), Vec::new());
        let live_patience = LIVE_PATIENCE;
        Ok(Self { projector, read_models, followed, tenant, forward, live_patience, indexes, file })
    }

    /// Applies one batch of what lies up to a position; answers how far the shadow is, and whether it came to the end of what it can apply.
    ///
    /// # Errors
    /// When the ledger cannot be read or the file not be written.
    pub async fn advance(&mut self, up_to: Position) -> Result<(Position, bool), ShadowError> {
        self.forward.advance(&mut self.projector, &self.tenant, up_to, BATCH).await?;
        Ok((self.position(), !self.projector.is_behind()))
    }

    /// How far the read models are that came furthest; the others are parked before an event that they cannot apply.
    fn position(&self) -> Position {
        let known = |read_model: &ReadModel| self.read_models.applied().known(&self.tenant, *read_model);
        self.followed.iter().map(known).max().unwrap_or_default()
    }

    async fn live_positions(
        &self,
        connection: &mut Connection<'_>,
    ) -> Result<Vec<(ReadModel, Position)>, sqlx::Error> {
        let mut positions = Vec::with_capacity(self.followed.len());
        for read_model in &self.followed {
            let position = checkpoint::position(connection, &self.tenant, *read_model).await?;
            positions.push((*read_model, position));
        }
        Ok(positions)
    }

    /// Compares with the rows of one replica of `live`, by its place there. They are held still in one snapshot while the shadow comes to
    /// their position, so that the two meet however busy the ledger is; where live rows are behind the shadow, they are waited for.
    ///
    /// # Errors
    /// [`ShadowError::LiveBehind`] when they do not come, and when a database fails.
    pub async fn compare(
        &mut self,
        live: &Replicas,
        replica: usize,
    ) -> Result<ShadowComparison, ShadowError> {
        let live = &live.all()[replica];
        // A connection of its own, so that no query waits for it.
        let settings = ReadModelSettings { read_connections_max: 1, ..ReadModelSettings::default() };
        let pool = ReadPool::new(live.place(), &settings);
        let compared = self.compare_with(&pool, &live.label()).await;
        pool.close().await;
        let (read_models, told) = compared?;
        Ok(ShadowComparison { replica: live.label(), read_models, told })
    }

    async fn compare_with(
        &mut self,
        live: &ReadPool,
        replica: &str,
    ) -> Result<(Vec<ComparedReadModel>, Vec<ShadowDifference>), ShadowError> {
        let deadline = Instant::now() + self.live_patience;
        let (mut snapshot, positions) = loop {
            let mut snapshot = live.snapshot(&self.tenant).await?;
            let positions = self.live_positions(&mut snapshot.connection()).await?;
            let position = positions.iter().map(|(_, position)| *position).max().unwrap_or_default();
            let wanted = self.position();
            if position >= wanted {
                break (snapshot, positions);
            }
            if Instant::now() >= deadline {
                return Err(ShadowError::LiveBehind { replica: replica.to_owned(), position, wanted });
            }
            drop(snapshot);
            sleep(LIVE_LOOK).await;
        };
        let live_position = positions.iter().map(|(_, position)| *position).max().unwrap_or_default();
        while !self.advance(live_position).await?.1 {}
        let mut shadow = self.read_models.readers().snapshot(&self.tenant).await?;
        let (mut live, mut shadow) = (snapshot.connection(), shadow.connection());
        let (mut read_models, mut told) = (Vec::new(), Vec::new());
        for (read_model, live_position) in positions {
            let position = checkpoint::position(&mut shadow, &self.tenant, read_model).await?;
            let compared = if position == live_position {
                rows::compare(&mut live, &mut shadow, &self.tenant, read_model).await?
            } else {
                never_met(read_model, live_position, position)
            };
            let Compared { rows, differences, told: more } = compared;
            read_models.push(ComparedReadModel { read_model, position, rows, differences });
            told.extend(more);
        }
        Ok((read_models, told))
    }

    /// Ends the folding: the rows stay as they are, for queries, and the file lives as long as the answer.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) async fn end(self) -> Result<(ReadModels, ShadowFile), ShadowError> {
        let Self { projector, read_models, indexes, file, .. } = self;
        drop(projector);
        for index in indexes {
            read_models.writer().await?.own().run_script(&index).await?;
        }
        read_models.forget_writer().await;
        Ok((read_models, file))
    }

    /// The least position that all of its read models reach; one that is parked stays behind.
    pub(crate) fn reached_by_all(&self) -> Position {
        let known = |read_model: &ReadModel| self.read_models.applied().known(&self.tenant, *read_model);
        self.followed.iter().map(known).min().unwrap_or_default()
    }

    /// Removes the file. A shadow that is dropped removes it, too.
    pub async fn remove(self) {
        let Self { projector, read_models, file, .. } = self;
        drop(projector);
        read_models.close().await;
        drop(file);
    }
}

/// One of the two stopped at an event that the other one applied.
fn never_met(read_model: ReadModel, live: Position, shadow: Position) -> Compared {
    let key = Map::from_iter([("projection".to_owned(), read_model.name().into())]);
    let difference = ShadowDifference {
        read_model,
        table: "checkpoints",
        key,
        field: Some("position".to_owned()),
        live: live.0.into(),
        shadow: shadow.0.into(),
    };
    Compared { rows: 1, differences: 1, told: vec![difference] }
}

/// Lets the shadow pass over the events of `tenant` that operators let `live` pass over.
async fn pass_over(live: &ReadModels, shadow: &ReadModels, tenant: &TenantId) -> Result<(), sqlx::Error> {
    const COLUMNS: &str = "tenant_id, projection, version, position, actor, reason, skipped_at, error";
    let mut snapshot = live.readers().snapshot(tenant).await?;
    let skips = sql(format!("SELECT {COLUMNS} FROM skips WHERE tenant_id = $1")).bind(tenant.as_str());
    let skips = skips.rows(&mut snapshot.connection()).await?;
    let mut writer = shadow.writer().await?;
    for skip in skips {
        sql(format!(
            "INSERT INTO skips ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"
        ))
        .bind(skip.get::<&str>("tenant_id")?)
        .bind(skip.get::<&str>("projection")?)
        .bind(skip.get::<i64>("version")?)
        .bind(skip.get::<i64>("position")?)
        .bind(skip.get::<&str>("actor")?)
        .bind(skip.get::<&str>("reason")?)
        .bind(skip.get::<i64>("skipped_at")?)
        .bind(skip.get::<&str>("error")?)
        .execute(&mut writer.connection())
        .await?;
    }
    Ok(())
}

/// The shadow's file, removed with it.
#[derive(Debug)]
pub(crate) struct ShadowFile(PathBuf);

impl ShadowFile {
    /// Bytes on the disk; 0 when it cannot be told.
    pub(crate) fn bytes(&self) -> u64 {
        sqlite_files(&self.0)
            .iter()
            .filter_map(|file| std::fs::metadata(file).ok())
            .map(|file| file.len())
            .sum()
    }
}

impl Drop for ShadowFile {
    fn drop(&mut self) {
        for file in sqlite_files(&self.0) {
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %file.display(), "a shadow's file could not be removed");
                }
                _ => {}
            }
        }
    }
}

/// How shadows' files are called in a folder.
const FILE_PREFIX: &str = "shadow-";

/// The file of a new shadow in `folder`, named after whatever asks for it.
pub fn shadow_file(folder: &Path, name: impl std::fmt::Display) -> PathBuf {
    folder.join(format!("{FILE_PREFIX}{name}.db"))
}

/// Removes what killed servers of earlier versions left in `folder`, whose shadows lay there itself. What lies in a [`ShadowFolder`] stays.
///
/// # Errors
/// When the folder cannot be read or a file not be removed.
pub fn remove_stale_shadows(folder: &Path) -> Result<(), std::io::Error> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(FILE_PREFIX) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projector::tests::Site;

    #[tokio::test]
    async fn one_that_is_late_is_named_and_keeps_no_other_from_being_compared() {
        let site = Site::on_sqlite().await;
        site.publish("acme").await;
        site.submit("acme").await;
        let mut projector = site.projector().await;
        while projector.is_behind() {
            projector.advance().await.expect("a batch");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let late = folder.path().join("late.db");
        let late = ReadModels::open_sqlite(&late, ReadModelSettings::default()).await.expect("read models");
        let live = Replicas::new(site.models.clone(), vec![late]);
        let (file, tenant) = (shadow_file(folder.path(), "test"), "acme".parse().expect("a slug"));
        let mut shadow =
            Shadow::begin(&site.store, &live, &file, &tenant, &ReadModel::ALL).await.expect("begins");
        shadow.live_patience = Duration::from_millis(50);
        while !shadow.advance(Position(2)).await.expect("advances").1 {}

        let mut all = ShadowComparisons::default();
        for replica in 0..live.count() {
            let compared = shadow.compare(&live, replica).await;
            all.add(format!("number {replica}"), compared).expect("of one only");
            assert_eq!(all.nothing().is_some(), replica == 0, "the first one is late");
        }
        let late =
            LateReplica { replica: "number 0".to_owned(), position: Position::START, wanted: Position(2) };
        assert_eq!((&all.behind, all.unavailable.len(), all.is_whole()), (&vec![late], 0, false));
        assert_eq!(all.compared.len(), 1);
        assert!(all.compared[0].read_models.iter().all(|read_model| read_model.differences == 0));
        shadow.remove().await;
    }
}
