//! One projection with its checkpoints: cuts a batch into what this projection may apply, applies it, moves the checkpoints.
//! Used by the projector only.

use std::collections::{HashMap, HashSet};

use formledger_domain::{Position, TenantId};

use crate::batch::LedgerPart;
use crate::checkpoint::{self, Checkpoint, Move, Moved, Totals};
use crate::database::Connection;
use crate::position::{Applied, ReadModel};
use crate::projection::{Projection, Said, Slice};
use crate::status;

/// A projection and how far it has come in each ledger.
#[derive(Debug, Default)]
pub(crate) struct Follower<P> {
    projection: P,
    checkpoints: HashMap<TenantId, Checkpoint>,
    /// Events that operators let this projection pass over.
    skipped: HashSet<(TenantId, Position)>,
}

/// Another process moved a checkpoint meanwhile: nothing may be committed.
#[derive(Debug)]
pub(crate) struct Contended;

impl<P: Projection> Follower<P> {
    /// Reads the checkpoints again. With `retry`, parked tenants are tried once more.
    pub(crate) async fn load(
        &mut self,
        connection: &mut Connection<'_>,
        retry: bool,
    ) -> Result<(), sqlx::Error> {
        self.projection.forget();
        self.checkpoints = checkpoint::load_all(connection, P::READ_MODEL).await?;
        self.skipped = checkpoint::load_skipped(connection, P::READ_MODEL).await?;
        if retry {
            self.checkpoints.values_mut().for_each(|checkpoint| checkpoint.parked = None);
        }
        Ok(())
    }

    /// Drops what the projection remembers of its tables.
    pub(crate) fn forget(&mut self) {
        self.projection.forget();
    }

    /// Where to go on in a ledger; `None` while parked.
    pub(crate) fn following(&self, tenant: &TenantId) -> Option<Position> {
        match self.checkpoints.get(tenant) {
            None => Some(Position::START),
            Some(Checkpoint { position, parked: None }) => Some(*position),
            Some(Checkpoint { parked: Some(_), .. }) => None,
        }
    }

    /// Tells waiters where every ledger's read model is.
    pub(crate) fn publish(&self, applied: &Applied) {
        for (tenant, checkpoint) in &self.checkpoints {
            applied.note(tenant, P::READ_MODEL, checkpoint.position);
        }
    }

    /// The moves that park tenants where they are, for a reason that depends on their checkpoint.
    pub(crate) fn parking(&self, reason: impl Fn(&TenantId, Position) -> Option<String>) -> Moved {
        let parked = |(tenant, checkpoint): (&TenantId, &Checkpoint)| {
            let position = checkpoint.position;
            let to = Checkpoint { position, parked: Some(reason(tenant, position)?) };
            Some(Move { tenant: tenant.clone(), from: position, to })
        };
        let moves = self.checkpoints.iter().filter_map(parked).collect();
        Moved { read_model: P::READ_MODEL, moves, recounts: Vec::new() }
    }

    /// Parks one tenant before the next event; nothing where it is parked already. Answers the moves to settle; after [`Contended`], load and try again.
    pub(crate) async fn stop(
        &self,
        connection: &mut Connection<'_>,
        tenant: &TenantId,
        error: String,
    ) -> Result<Result<Vec<Move>, Contended>, sqlx::Error> {
        let stop = |position| Move {
            tenant: tenant.clone(),
            from: position,
            to: Checkpoint { position, parked: Some(error) },
        };
        Self::make(connection, self.following(tenant).map(stop).into_iter().collect()).await
    }

    async fn make(
        connection: &mut Connection<'_>,
        moves: Vec<Move>,
    ) -> Result<Result<Vec<Move>, Contended>, sqlx::Error> {
        let moved = [Moved { read_model: P::READ_MODEL, moves, recounts: Vec::new() }];
        let done = checkpoint::compare_and_set(connection, &moved, &[]).await?;
        let [Moved { moves, .. }] = moved;
        Ok(if done { Ok(moves) } else { Err(Contended) })
    }

    /// Whether a ledger that is followed ends before its checkpoint.
    pub(crate) fn is_ahead(&self, heads: &HashMap<TenantId, Position>) -> bool {
        self.checkpoints.iter().any(|(tenant, checkpoint)| {
            checkpoint.parked.is_none()
                && checkpoint.position > heads.get(tenant).copied().unwrap_or_default()
        })
    }

    /// Whether the database holds other checkpoints than memory, by their totals. Only this notices one that went back while its ledger rests. One that
    /// went on has its ledger read, and fails the compare-and-set: so sums tell enough.
    pub(crate) fn differs(&self, totals: &[Totals; ReadModel::ALL.len()]) -> bool {
        let known = Totals { parked: self.parked_count() as u64, reached: self.reached() };
        totals[P::READ_MODEL.index()] != known
    }

    /// As [`Follower::differs`], by positions alone: who tries parked tenants once more knows of none.
    pub(crate) fn is_elsewhere(&self, totals: &[Totals; ReadModel::ALL.len()]) -> bool {
        totals[P::READ_MODEL.index()].reached != self.reached()
    }

    fn reached(&self) -> u64 {
        self.checkpoints.values().map(|checkpoint| checkpoint.position.0).sum()
    }

    fn parked_count(&self) -> usize {
        self.checkpoints.values().filter(|checkpoint| checkpoint.parked.is_some()).count()
    }

    /// Applies what of a batch lies after the checkpoints, in the caller's transaction; answers the moves of the checkpoints, to be made in it, too. Who
    /// begins at the beginning begins with empty tables.
    ///
    /// Of the parts of one ledger, one at most goes on from this checkpoint. The moves take effect in memory with [`Follower::settle`], after the commit.
    pub(crate) async fn apply(
        &mut self,
        connection: &mut Connection<'_>,
        parts: &[LedgerPart<'_>],
    ) -> Result<Moved, sqlx::Error> {
        let mut slices = Vec::new();
        let mut moves = Vec::new();
        for part in parts {
            moves.extend(self.cut(*part, &mut slices));
        }
        // An earlier version drops what it knows of and its checkpoint; rows in tables that came later stay without one.
        let begun = |moved: &&Move| moved.from == Position::START;
        let begun: Vec<&str> = moves.iter().filter(begun).map(|moved| moved.tenant.as_str()).collect();
        if !begun.is_empty() {
            status::drop_rows(connection, P::READ_MODEL, &begun).await?;
        }
        for stop in self.projection.apply(connection, &slices).await? {
            let Some(moved) = moves.iter_mut().find(|moved| moved.tenant == stop.tenant) else { continue };
            moved.to = Checkpoint { position: before(stop.position), parked: Some(stop.error) };
        }
        Ok(Moved { read_model: P::READ_MODEL, moves, recounts: self.projection.take_recounts() })
    }

    /// Takes over what was committed.
    pub(crate) fn settle(&mut self, moves: Vec<Move>, applied: &Applied) {
        for Move { tenant, to, .. } in moves {
            if let Some(error) = &to.parked {
                tracing::error!(
                    projection = P::READ_MODEL.name(), %tenant, position = to.position.0 + 1, error,
                    "projection parked before an event that it cannot apply"
                );
            }
            applied.note(&tenant, P::READ_MODEL, to.position);
            self.checkpoints.insert(tenant, to);
        }
    }

    /// Cuts one ledger's facts to those that this projection may apply now, and says where its checkpoint goes.
    fn cut<'a>(&self, part: LedgerPart<'a>, slices: &mut Vec<Slice<'a>>) -> Option<Move> {
        let LedgerPart { tenant, after, facts, wall } = part;
        let from = self.following(tenant).filter(|from| *from >= after)?;
        let new = &facts[facts.partition_point(|fact| fact.event.position <= from)..];
        let mut to = Checkpoint { position: from, parked: None };
        let mut taken = 0;
        for fact in new {
            let position = fact.event.position;
            if position != to.position.next() {
                to.parked = Some(format!("position {} is missing in the ledger", to.position.next()));
                break;
            }
            if self.skips(tenant, position) {
                // What follows is for the next batch, so that a tenant has one slice.
                to.position = position;
                break;
            }
            if let Said::Unreadable(error) = &fact.said
                && P::follows(&fact.event.aggregate_type)
            {
                to.parked = Some(error.to_string());
                break;
            }
            to.position = position;
            taken += 1;
        }
        // A projection that is beyond the wall already, or stopped before it, does not meet it.
        if let Some(wall) = wall.filter(|wall| to.parked.is_none() && wall.position == to.position.next()) {
            if self.skips(tenant, wall.position) {
                to.position = wall.position;
            } else {
                to.parked = Some(wall.error.clone());
            }
        }
        if taken > 0 {
            slices.push(Slice { tenant, facts: &new[..taken] });
        }
        (to.position > from || to.parked.is_some()).then(|| Move { tenant: tenant.clone(), from, to })
    }

    /// Whether operators let this projection pass over an event.
    fn skips(&self, tenant: &TenantId, position: Position) -> bool {
        !self.skipped.is_empty() && self.skipped.contains(&(tenant.clone(), position))
    }
}

fn before(position: Position) -> Position {
    Position(position.0.saturating_sub(1))
}
