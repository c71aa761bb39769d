//! A batch that the database refuses for what is in it: commits its parts apart, and parks a tenant before the event that is refused alone,
//! so that no value of one tenant ever keeps the rows of the others from following. Used by the projector.

use formledger_store::causes;
use sqlx::postgres::PgDatabaseError;

use super::Projector;
use crate::batch::LedgerPart;
use crate::checkpoint::{self, Move, Moved};
use crate::follower::{Contended, Follower};
use crate::projection::Projection;
use crate::read_models::ReadModels;
use crate::witness;

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>: a row that one statement would change twice, data exceptions, violated
/// constraints, exceeded limits of the program.
const POSTGRES_REFUSES: [&str; 4] = ["21", "22", "23", "54"];
/// <https://www.sqlite.org/rescode.html>: too big, violated constraint, wrong type.
const SQLITE_REFUSES: [i32; 3] = [18, 19, 20];

/// Whether the database would refuse the same rows again, so that trying again helps nobody.
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return matches!(error, sqlx::Error::Encode(_)) };
    let Some(code) = error.code() else { return false };
    if error.try_downcast_ref::<PgDatabaseError>().is_some() {
        return POSTGRES_REFUSES.iter().any(|class| code.starts_with(class));
    }
    // The primary result code is the low byte of an extended one.
    code.parse::<i32>().is_ok_and(|code| SQLITE_REFUSES.contains(&(code & 0xff)))
}

impl Projector {
    /// As [`Projector::commit_apart`], unless another process moved checkpoints meanwhile: then the rows that were refused may be there already.
    pub(super) async fn commit_apart_if_alone(
        &mut self,
        parts: &[LedgerPart<'_>],
        refusal: &sqlx::Error,
    ) -> Result<Result<(), Contended>, sqlx::Error> {
        self.forget_failed().await;
        if self.moved_elsewhere().await? {
            return Ok(Err(Contended));
        }
        self.commit_apart(parts, refusal).await
    }

    /// Commits in smaller and smaller transactions what was refused as a whole.
    ///
    /// What failed is halved, so one refused event among n costs about 2 log n transactions; and each projection stops at a tenant's
    /// first one, so a batch has few of them.
    async fn commit_apart(
        &mut self,
        parts: &[LedgerPart<'_>],
        refusal: &sqlx::Error,
    ) -> Result<Result<(), Contended>, sqlx::Error> {
        tracing::warn!(error = causes(refusal), "a batch of events is refused; looking for the event");
        // In the order of the ledgers from the end: what comes next is the last one.
        let mut waiting = vec![parts.to_vec()];
        while let Some(parts) = waiting.pop() {
            let committed = match self.commit(&parts).await {
                Err(error) if is_refusal(&error) => {
                    self.forget_failed().await;
                    match halves(&parts) {
                        Some([first, second]) => {
                            waiting.extend([second, first]);
                            continue;
                        }
                        None => self.commit_alone(&parts).await?,
                    }
                }
                committed => committed?,
            };
            if committed.is_err() {
                return Ok(committed);
            }
        }
        Ok(Ok(()))
    }

    /// Lets each projection take at most one event of one ledger, or park before it.
    async fn commit_alone(&mut self, parts: &[LedgerPart<'_>]) -> Result<Result<(), Contended>, sqlx::Error> {
        let models = &self.read_models;
        each!(self.followers, follower => {
            if let Err(contended) = apply_or_park(follower, models, parts).await? {
                return Ok(Err(contended));
            }
        });
        if self.store.can_lose_history() {
            witness::remember(&mut self.reflected, parts);
        }
        models.applied().announce();
        Ok(Ok(()))
    }
}

/// The two halves of a batch, in order; `None` for what cannot be divided.
fn halves<'a>(parts: &[LedgerPart<'a>]) -> Option<[Vec<LedgerPart<'a>>; 2]> {
    match parts {
        [] => None,
        [LedgerPart { tenant, after, facts, wall }] => {
            let (first, second) = facts.split_at(facts.len() / 2);
            let middle = first.last()?.event.position;
            let [first, second] = [(*after, first, None), (middle, second, *wall)]
                .map(|(after, facts, wall)| vec![LedgerPart { tenant, after, facts, wall }]);
            Some([first, second])
        }
        several => {
            let (first, second) = several.split_at(several.len() / 2);
            Some([first.to_vec(), second.to_vec()])
        }
    }
}

async fn apply_or_park<P: Projection>(
    follower: &mut Follower<P>,
    models: &ReadModels,
    parts: &[LedgerPart<'_>],
) -> Result<Result<(), Contended>, sqlx::Error> {
    let moves = match apply(follower, models, parts).await {
        Err(error) if is_refusal(&error) => {
            models.forget_writer().await;
            follower.forget();
            let error = format!("the database refuses its rows: {}", causes(&error));
            let mut writer = models.writer().await?;
            let mut transaction = writer.begin_writing().await?;
            let mut moves = Vec::new();
            for part in parts {
                match follower.stop(&mut transaction.connection(), part.tenant, error.clone()).await? {
                    Ok(stopped) => moves.extend(stopped),
                    Err(contended) => return Ok(Err(contended)),
                }
            }
            transaction.commit().await?;
            Ok(moves)
        }
        applied => applied?,
    };
    Ok(moves.map(|moves| follower.settle(moves, models.applied())))
}

async fn apply<P: Projection>(
    follower: &mut Follower<P>,
    models: &ReadModels,
    parts: &[LedgerPart<'_>],
) -> Result<Result<Vec<Move>, Contended>, sqlx::Error> {
    let mut writer = models.writer().await?;
    let mut transaction = writer.begin_writing().await?;
    let mut connection = transaction.connection();
    let moved = [follower.apply(&mut connection, parts).await?];
    if !checkpoint::compare_and_set(&mut connection, &moved, &witness::of(parts)).await? {
        // Dropping the transaction rolls it back.
        return Ok(Err(Contended));
    }
    transaction.commit().await?;
    let [Moved { moves, .. }] = moved;
    Ok(Ok(moves))
}
