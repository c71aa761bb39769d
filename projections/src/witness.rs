//! Which ledger the rows of each tenant were made from, kept with the checkpoints and compared with the ledger before a projector goes on.
//! A ledger restored from an older copy, or taken over by a standby that had not received everything, may hold other events at positions that
//! the rows reflect already; and a URL may name the read models of another system. Used by the projector.

use std::collections::{HashMap, HashSet};

use formledger_domain::{Position, TenantId};
use formledger_store::{LedgerRange, RecordedEvent, Store, StoreError};

use crate::batch::{LedgerPart, damage};
use crate::columns;
use crate::database::{Connection, Row, sql};
use crate::pool::ReadPool;
use crate::projector::ProjectError;

/// Tenants whose events are read at once; two small reads each.
const CHECKED_AT_ONCE: usize = 256;

/// An event's place in the tree of its ledger.
pub(crate) type LeafHash = [u8; 32];

/// The newest event of each ledger that some rows reflect, as far as known: what is read next has to go on from it.
pub(crate) type Reflected = HashMap<TenantId, (Position, LeafHash)>;

/// What the rows remember of their ledger.
#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) tenant: TenantId,
    /// Of the event at position 1; `None` for rows that an earlier binary began.
    pub(crate) first: Option<LeafHash>,
    pub(crate) position: Position,
    /// Of the event at `position`.
    pub(crate) last: LeafHash,
}

/// What is wrong with a tenant's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// They were made from this ledger, and reflect events that it does not hold (any more).
    Diverged,
    /// They were made from another ledger, or nobody can tell.
    Foreign,
}

/// Takes note of what was committed, as [`of`] has it.
pub(crate) fn remember(reflected: &mut Reflected, parts: &[LedgerPart<'_>]) {
    for part in parts {
        let Some(last) = part.facts.last().map(|fact| (fact.event.position, fact.event.leaf_hash)) else {
            continue;
        };
        match reflected.get_mut(part.tenant) {
            Some(known) if known.0 >= last.0 => {}
            Some(known) => *known = last,
            None => drop(reflected.insert(part.tenant.clone(), last)),
        }
    }
}

/// What the rows reflect, by what was read of the witnesses.
pub(crate) fn reflected(witnesses: &[Witness]) -> Reflected {
    let last = |witness: &Witness| (witness.tenant.clone(), (witness.position, witness.last));
    witnesses.iter().map(last).collect()
}

/// What a batch was read from, to be noted in its transaction.
pub(crate) fn of(parts: &[LedgerPart<'_>]) -> Vec<Witness> {
    let newest = |part: &LedgerPart<'_>| {
        let (first, last) = (&part.facts.first()?.event, &part.facts.last()?.event);
        let first = (first.position == Position(1)).then_some(first.leaf_hash);
        Some(Witness { tenant: part.tenant.clone(), first, position: last.position, last: last.leaf_hash })
    };
    let mut witnesses: Vec<Witness> = Vec::with_capacity(parts.len());
    for witness in parts.iter().filter_map(newest) {
        match witnesses.last_mut().filter(|known| known.tenant == witness.tenant) {
            // Parts of a ledger are in order of position.
            Some(known) => *known = Witness { first: known.first.or(witness.first), ..witness },
            None => witnesses.push(witness),
        }
    }
    witnesses
}

/// All witnesses.
pub(crate) async fn load_all(connection: &mut Connection<'_>) -> Result<Vec<Witness>, sqlx::Error> {
    let select = "SELECT tenant_id, first_hash, reflected_position, reflected_hash FROM checkpoints \
                  WHERE reflected_position IS NOT NULL";
    let rows = sql(select).rows(connection).await?;
    let read = |row: &Row| {
        Ok(Witness {
            tenant: columns::tenant(row.get("tenant_id")?)?,
            first: row.get::<Option<&[u8]>>("first_hash")?.map(columns::hash).transpose()?,
            position: columns::position(row.get("reflected_position")?)?,
            last: columns::hash(row.get("reflected_hash")?)?,
        })
    };
    rows.iter().map(read).collect()
}

/// A tenant of the ledger that all rows were made from, where that is another one; `None` where some were made from this one or may have been, or none are
/// there. Some are asked: it is about whose database this is, and the projector compares all.
pub(crate) async fn stranger(readers: &ReadPool, store: &Store) -> Result<Option<TenantId>, ProjectError> {
    let witnesses = load_all(&mut readers.snapshot_of_all().await?.connection()).await?;
    let heads = store.heads().await?.into_iter().map(|head| (head.tenant, head.position));
    let heads: HashMap<TenantId, Position> = heads.collect();
    let (mut known, unknown): (Vec<Witness>, Vec<Witness>) =
        witnesses.into_iter().partition(|witness| heads.get(&witness.tenant) > Some(&Position::START));
    if known.is_empty() {
        return Ok(unknown.into_iter().map(|witness| witness.tenant).min());
    }
    known.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    known.truncate(CHECKED_AT_ONCE);
    let Compared { doubts, .. } = compare(store, &known, &heads).await?;
    // A tenant that began anew after a restore, or of whose first event nothing is remembered, is for the projector to park.
    let is_other =
        |witness: &Witness| witness.first.is_some() && doubts.get(&witness.tenant) == Some(&Doubt::Foreign);
    Ok(known.iter().all(is_other).then(|| known[0].tenant.clone()))
}

/// What came out of comparing witnesses with their ledgers. A tenant without ledger, or with a damaged one, is in neither.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// Whose rows are in doubt.
    pub(crate) doubts: HashMap<TenantId, Doubt>,
    /// Whose rows reflect what their ledgers hold.
    pub(crate) confirmed: HashSet<TenantId>,
}

/// Compares witnesses with the ledgers they speak of.
pub(crate) async fn compare(
    store: &Store,
    witnesses: &[Witness],
    heads: &HashMap<TenantId, Position>,
) -> Result<Compared, StoreError> {
    let mut compared = Compared::default();
    for chunk in witnesses.chunks(CHECKED_AT_ONCE) {
        let chunk: Vec<_> = chunk
            .iter()
            .filter_map(|witness| Some((witness, *heads.get(&witness.tenant)?)))
            .filter(|(_, head)| *head > Position::START)
            .collect();
        match read(store, &chunk).await {
            Ok(events) => compared.judge(&chunk, &events),
            // One tenant's damage must not keep the others from being looked at; its own rows park where the damage is.
            Err(error) if damage(&error).is_some() => {
                for one in chunk.chunks(1) {
                    match read(store, one).await {
                        Ok(events) => compared.judge(one, &events),
                        Err(error) if damage(&error).is_some() => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(compared)
}

/// The events that the witnesses speak of, as far as the ledgers reach.
async fn read(store: &Store, witnesses: &[(&Witness, Position)]) -> Result<Vec<RecordedEvent>, StoreError> {
    let mut ranges = Vec::with_capacity(witnesses.len() * 2);
    for (witness, head) in witnesses {
        let mut one = |position: Position| {
            let after = Position(position.0 - 1);
            ranges.push(LedgerRange { tenant: witness.tenant.clone(), after, up_to: position });
        };
        one(Position(1));
        if witness.position > Position(1) && witness.position <= *head {
            one(witness.position);
        }
    }
    store.read_ranges(&ranges).await
}

impl Compared {
    fn judge(&mut self, witnesses: &[(&Witness, Position)], events: &[RecordedEvent]) {
        let found: HashMap<(&TenantId, Position), LeafHash> =
            events.iter().map(|event| ((&event.tenant, event.position), event.leaf_hash)).collect();
        for (witness, _) in witnesses {
            let at = |position| found.get(&(&witness.tenant, position)).copied();
            // An event that is missing parks the tenant where it is missing.
            let Some(first) = at(Position(1)) else { continue };
            if at(witness.position) == Some(witness.last) {
                self.confirmed.insert(witness.tenant.clone());
                continue;
            }
            let doubt = if witness.first == Some(first) { Doubt::Diverged } else { Doubt::Foreign };
            self.doubts.insert(witness.tenant.clone(), doubt);
        }
    }
}
