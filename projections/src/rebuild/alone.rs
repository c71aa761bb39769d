//! Puts the fresh file in the place of the live one, by its name, when nobody else has that open (docs/adr/0009): no row is written twice.
//! Used when all read models of all tenants were built in a file. [`whole`](super::whole) copies the rows where this cannot be done.

use std::fs::{File, Metadata};
use std::io::Error;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use formledger_store::causes;
use tokio::task::spawn_blocking;

use super::whole::{Checkpoints, Reached, reached};
use super::{Folded, RebuildError, Rebuilding, fold_news};
use crate::checkpoint;
use crate::database::sql;
use crate::in_use::InUse;
use crate::place::{BUSY_TIMEOUT, sqlite_files};
use crate::read_models::OpenError;
use crate::schema;

/// What a file holds beside rows; a file that somebody changed by hand keeps its place, so that none of that is lost.
const DESCRIBED: &str = "SELECT count(*) FROM (SELECT type, name, tbl_name, sql FROM main.sqlite_schema EXCEPT \
                         SELECT type, name, tbl_name, sql FROM fresh.sqlite_schema)";

impl Rebuilding {
    /// Exchanges the files; answers the positions that the fresh rows reach, and `None`, with everything as it was, when somebody else has
    /// the live file open or it cannot be exchanged.
    pub(super) async fn switch_alone(&mut self, folded: &Folded) -> Result<Option<Reached>, RebuildError> {
        let Some((live, fresh)) = self.fresh.files().filter(|_| self.builds_all()) else { return Ok(None) };
        let Some(before) = exchangeable(&live)? else { return Ok(None) };
        // Beside a node nothing of this is worth beginning.
        if InUse::alone(&live).await.is_none() {
            return Ok(None);
        }
        self.make_ready().await?;
        self.catch_up(None).await?;
        // Most of what the disk has to take, while nobody waits.
        let file = fresh.clone();
        blocking(move || File::open(file)?.sync_all()).await?;
        let Some(alone) = InUse::alone(&live).await else { return Ok(None) };
        if !self.take_live_file().await? {
            return Ok(None);
        }
        fold_news(&mut self.projector, None).await?;
        let news = self.checkpoints().await?;
        let exchanged = if self.settle_fresh_file().await? {
            self.made.close_writer().await?;
            // Nobody else comes in before it is done, even if nobody waits for it any more.
            blocking(move || exchange(&live, &fresh, &before).map(|()| alone)).await
        } else {
            Err(Error::other("something still writes one of the files"))
        };
        match exchanged {
            Ok(_alone) => Ok(Some(reached(folded, &news))),
            Err(error) => {
                tracing::warn!(error = causes(&error), "the file cannot be exchanged: its rows are replaced");
                self.give_live_file_back().await?;
                Ok(None)
            }
        }
    }

    /// Has the live file to itself within a transaction that ends with its connection, all that was written in the file and none of it in a log;
    /// `false` when another program has it open, or it is not as the fresh one is.
    pub(super) async fn take_live_file(&mut self) -> Result<bool, RebuildError> {
        self.live.run_script("PRAGMA busy_timeout = 0").await?;
        let taken = self.try_take_live_file().await;
        let patience = format!("PRAGMA busy_timeout = {}", BUSY_TIMEOUT.as_millis());
        self.live.run_script(&patience).await?;
        match taken {
            Ok(true) => Ok(true),
            Ok(false) => self.give_live_file_back().await.map(|()| false),
            // Somebody who does not share it as this version does: an earlier one, or a shell.
            Err(error) if is_busy(&error) => self.give_live_file_back().await.map(|()| false),
            Err(error) => Err(error),
        }
    }

    async fn try_take_live_file(&mut self) -> Result<bool, RebuildError> {
        let mut live = self.live.connection();
        // SQLite leaves a log only for the last one who has the file open.
        let journal = sql("PRAGMA main.journal_mode = DELETE").one(&mut live).await?;
        if journal.value::<String>()? != "delete" {
            return Ok(false);
        }
        schema::hold(&mut live).await?;
        if sql(DESCRIBED).one(&mut live).await?.value::<i64>()? != 0 {
            return Ok(false);
        }
        // Operators may have let something be passed over meanwhile.
        sql("DELETE FROM fresh.skips").execute(&mut live).await?;
        sql("INSERT INTO fresh.skips SELECT * FROM main.skips").execute(&mut live).await?;
        self.live.run_script("DETACH DATABASE fresh; BEGIN EXCLUSIVE").await?;
        // Whoever came in between would have begun a log again.
        let journal = sql("PRAGMA main.journal_mode").one(&mut self.live.connection()).await?;
        Ok(journal.value::<String>()? == "delete")
    }

    /// Has all that was written in the fresh file, too: after a batch that failed, its writer was connected again, with a log. `false` when something
    /// of either file still lies beside it, which would be lost, or taken for the other's.
    async fn settle_fresh_file(&mut self) -> Result<bool, RebuildError> {
        let settled = async {
            let mut fresh = self.made.writer().await?;
            let journal = sql("PRAGMA journal_mode = DELETE").one(&mut fresh.connection()).await?;
            Ok(journal.value::<String>()? == "delete")
        };
        let is_settled = match settled.await.map_err(RebuildError::Database) {
            Err(error) if is_busy(&error) => false,
            settled => settled?,
        };
        let (live, fresh) = self.fresh.files().expect("of files");
        let beside = [live, fresh].into_iter().flat_map(|file| sqlite_files(&file).into_iter().skip(1));
        Ok(is_settled && !beside.into_iter().any(|file| file.exists()))
    }

    /// Goes back to how rows are copied: both files behind one connection, which writes the live one by way of a log.
    pub(super) async fn give_live_file_back(&mut self) -> Result<(), RebuildError> {
        if let Err(error) = self.live.run_script("ROLLBACK").await {
            tracing::debug!(error = causes(&error), "there was no transaction yet");
        }
        let (live, _) = self.fresh.connect().await?;
        std::mem::replace(&mut self.live, live).close().await?;
        Ok(())
    }

    async fn checkpoints(&mut self) -> Result<Vec<Checkpoints>, RebuildError> {
        let mut fresh = self.made.writer().await?;
        let mut news = Vec::with_capacity(self.read_models.len());
        for read_model in &self.read_models {
            news.push(checkpoint::load_all(&mut fresh.connection(), *read_model).await?);
        }
        Ok(news)
    }
}

/// What the live file is; `None` when its name is not the only one it has, or is one that leads to it.
fn exchangeable(live: &Path) -> Result<Option<Metadata>, RebuildError> {
    let file = live.symlink_metadata()?;
    Ok((file.is_file() && file.nlink() == 1).then_some(file))
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    spawn_blocking(work).await.unwrap_or_else(|ended| Err(Error::other(ended)))
}

/// Renames the fresh file once the disk has it, as readable as the live one was. Whatever fails does so before.
fn exchange(live: &Path, fresh: &Path, before: &Metadata) -> Result<(), Error> {
    let now = fresh.metadata()?;
    if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
        chown(fresh, Some(before.uid()), Some(before.gid()))?;
    }
    std::fs::set_permissions(fresh, before.permissions())?;
    File::open(fresh)?.sync_all()?;
    let folder = live.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new(".")));
    std::fs::rename(fresh, live)?;
    if let Err(error) = folder.and_then(|folder| folder.sync_all()) {
        tracing::warn!(
            error = causes(&error),
            "until the disk has the new name, a power cut brings the old rows back"
        );
    }
    Ok(())
}

fn is_busy(error: &RebuildError) -> bool {
    let (RebuildError::Database(error) | RebuildError::Open(OpenError::Database(error))) = error else {
        return false;
    };
    // SQLITE_BUSY and its extended codes.
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xFF == 5)
}
