//! The place that a rebuild makes its rows in: a file beside the live one, or a schema beside the live schema. Claimed by one rebuild at a
//! time, whatever process it runs in, and removed afterwards; what a killed rebuild left is removed by the next.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use super::{RebuildError, swap};
use crate::database::{OwnConnection, sql};
use crate::leadership::KEEPALIVES;
use crate::light::{drop_indexes, write_lightly};
use crate::place::{Place, ReadModelPlace, sqlite_files, suffixed};
use crate::position::ReadModel;
use crate::read_models::ReadModels;

/// The names under which one connection sees the live tables and the fresh ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides {
    pub(super) live: &'static str,
    pub(super) fresh: &'static str,
}

/// A fresh place, claimed for as long as this value lives.
#[derive(Debug)]
pub(super) struct Fresh {
    live: Place,
    place: Place,
    claim: Claim,
}

/// What keeps others away; the system gives it back even when the process is killed.
#[derive(Debug)]
enum Claim {
    /// A locked file.
    File { _locked: File },
    /// A session that holds an advisory lock.
    Session(PgConnection),
}

impl Fresh {
    /// Claims the place and empties it.
    pub(super) async fn claim(live: &Place) -> Result<Self, RebuildError> {
        let claim = match live {
            Place::Sqlite(path) => Claim::File { _locked: lock_file(path)? },
            Place::Postgres(place) => {
                let mut session = place.connect().await?;
                // It says nothing while rows are folded.
                session.execute(KEEPALIVES).await?;
                let locked: bool =
                    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtext('formledger rebuilds'))")
                        .fetch_one(&mut session)
                        .await?;
                if !locked {
                    return Err(RebuildError::Running);
                }
                Claim::Session(session)
            }
        };
        let mut fresh = Self { live: live.clone(), place: live.fresh(), claim };
        fresh.empty().await?;
        Ok(fresh)
    }

    /// Whether whole tables of it can take the place of the live ones.
    pub(super) async fn can_replace_tables(&mut self) -> Result<bool, RebuildError> {
        let sides = self.sides();
        match &mut self.claim {
            Claim::File { .. } => Ok(true),
            Claim::Session(session) => Ok(swap::are_alike(session, sides).await?),
        }
    }

    /// Spares the fresh rows what only rows that last and are queried need: waiting for the disk (a rebuild that is killed begins again anyway)
    /// and every index that holds no key. Comes once the tables are there; what is switched in gets all of it. Answers what makes the indexes
    /// again, where the tables themselves may become the live ones; these are logged from the start, because making them so later writes
    /// everything once more.
    pub(super) async fn lighten(
        &mut self,
        read_models: &ReadModels,
        whole: bool,
    ) -> Result<Vec<String>, RebuildError> {
        match (&self.place, &mut self.claim) {
            (Place::Postgres(place), Claim::Session(session)) if whole => {
                Ok(swap::drop_indexes(session, place.schema).await?)
            }
            (Place::Postgres(place), Claim::Session(session)) => {
                session.execute(&*LIGHTEN.replace("{schema}", place.schema)).await?;
                Ok(Vec::new())
            }
            _ => {
                write_lightly(read_models).await?;
                Ok(drop_indexes(read_models).await?)
            }
        }
    }

    /// Makes tables ready to be the live ones; `false` when something else holds one of them.
    pub(super) async fn make_ready(
        &mut self,
        read_models: &ReadModels,
        indexes: &[String],
        followed: &[ReadModel],
    ) -> Result<bool, RebuildError> {
        match (&self.place, &mut self.claim) {
            (Place::Postgres(place), Claim::Session(session)) => {
                Ok(swap::make_ready(session, place.schema, indexes, followed).await?)
            }
            _ => {
                for index in indexes {
                    read_models.writer().await?.own().run_script(index).await?;
                }
                Ok(true)
            }
        }
    }

    /// Looks whether the claim still holds, which goes with its session.
    ///
    /// # Errors
    /// When it does not: the place may be another rebuild's by now.
    pub(super) async fn check_claim(&mut self) -> Result<(), RebuildError> {
        match &mut self.claim {
            Claim::File { .. } => Ok(()),
            Claim::Session(session) => Ok(session.ping().await?),
        }
    }

    /// Bytes of the rows in a file; 0 when they cannot be told.
    pub(super) fn bytes(&self) -> u64 {
        let Place::Sqlite(path) = &self.place else { return 0 };
        std::fs::metadata(path).map(|file| file.len()).unwrap_or_default()
    }

    /// The live file and the fresh one.
    pub(super) fn files(&self) -> Option<(PathBuf, PathBuf)> {
        match (&self.live, &self.place) {
            (Place::Sqlite(live), Place::Sqlite(fresh)) => Some((live.clone(), fresh.clone())),
            _ => None,
        }
    }

    /// Where it is.
    pub(super) fn place(&self) -> ReadModelPlace {
        ReadModelPlace(self.place.clone())
    }

    /// A connection that writes the live rows and sees the fresh ones.
    pub(super) async fn connect(&self) -> Result<(OwnConnection, Sides), RebuildError> {
        let mut connection = self.live.connect_writer().await?;
        if let Place::Sqlite(_) = self.place {
            let attach = sql("ATTACH DATABASE $1 AS fresh").bind(self.place.name());
            attach.execute(&mut connection.connection()).await?;
        }
        Ok((connection, self.sides()))
    }

    fn sides(&self) -> Sides {
        match (&self.live, &self.place) {
            (Place::Postgres(live), Place::Postgres(fresh)) => {
                Sides { live: live.schema, fresh: fresh.schema }
            }
            _ => Sides { live: "main", fresh: "fresh" },
        }
    }

    /// Removes what was made; a rebuild that failed leaves that to the next one.
    pub(super) async fn remove(mut self) -> Result<(), RebuildError> {
        self.empty().await
    }

    async fn empty(&mut self) -> Result<(), RebuildError> {
        match (&self.place, &mut self.claim) {
            (Place::Postgres(place), Claim::Session(session)) => {
                session.execute(&*EMPTY.replace("{schema}", place.schema)).await?;
            }
            (Place::Sqlite(path), _) => remove_files(path)?,
            (Place::Postgres(_), Claim::File { .. }) => unreachable!("a database is claimed by a session"),
        }
        Ok(())
    }
}

/// By name, and without what hangs on it: tables that were exchanged must not lose anything that stayed here.
const EMPTY: &str = "\
DO $empty$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = '{schema}' LOOP
        EXECUTE 'DROP TABLE ' || name;
    END LOOP;
    IF to_regnamespace('{schema}') IS NOT NULL THEN
        DROP SCHEMA {schema} RESTRICT;
    END IF;
END
$empty$";

/// Over a schema of empty tables.
const LIGHTEN: &str = "\
DO $lighten$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = '{schema}' LOOP
        EXECUTE 'ALTER TABLE ' || name || ' SET UNLOGGED';
    END LOOP;
    FOR name IN SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
                WHERE relnamespace = '{schema}'::regnamespace AND NOT indisunique LOOP
        EXECUTE 'DROP INDEX ' || name;
    END LOOP;
END
$lighten$";

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Place::Sqlite(path) = &self.place
            && let Err(error) = remove_files(path)
        {
            tracing::warn!(%error, path = %path.display(), "the rebuild's file could not be removed");
        }
    }
}

fn lock_file(live: &Path) -> Result<File, RebuildError> {
    let claim = File::create(suffixed(live, ".rebuild.lock"))?;
    match claim.try_lock() {
        Ok(()) => Ok(claim),
        Err(TryLockError::WouldBlock) => Err(RebuildError::Running),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn remove_files(path: &Path) -> Result<(), std::io::Error> {
    for file in sqlite_files(path) {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
