//! What one batch takes out of the ledgers: events in order, and where a ledger cannot be read on. Used by the projector, which says what
//! to read; followers stop at a wall. One ledger's damage must never keep the others from being read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use formledger_domain::{Position, TenantId};
use formledger_store::{LedgerRange, LinkedRanges, RecordedEvent, Store, StoreError};

use crate::projection::Fact;
use crate::witness::Reflected;

/// What was read of several ledgers.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Sorted by tenant and position once the batch is [`Batch::ordered`].
    facts: Vec<Fact>,
    walls: BTreeMap<TenantId, Wall>,
    payload_bytes: usize,
    reads: usize,
    /// Where each ledger's last range ended.
    ends: Reflected,
    /// A ledger that does not go on from what was read of it before.
    torn: Option<(TenantId, Position)>,
}

/// An event that is missing in the ledger or damaged there; nothing behind it is read.
#[derive(Debug)]
pub(crate) struct Wall {
    pub(crate) position: Position,
    /// What is wrong with it.
    pub(crate) error: String,
}

/// What was read of one ledger.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LedgerPart<'a> {
    pub(crate) tenant: &'a TenantId,
    /// By position.
    pub(crate) facts: &'a [Fact],
    pub(crate) wall: Option<&'a Wall>,
}

impl Batch {
    /// How many events it holds.
    pub(crate) fn events(&self) -> usize {
        self.facts.len()
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// The position of the last event, of a batch of one ledger.
    pub(crate) fn last(&self) -> Option<Position> {
        self.facts.last().map(|fact| fact.event.position)
    }

    /// Whether there is nothing to apply and nobody to park.
    pub(crate) fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.walls.is_empty()
    }

    /// Whether a ledger cannot be read on.
    pub(crate) fn is_walled(&self, tenant: &TenantId) -> bool {
        self.walls.contains_key(tenant)
    }

    /// A ledger that lost events which are reflected already, and a position at which it holds another one. Then nothing of this batch may
    /// be applied.
    pub(crate) fn torn(&self) -> Option<&(TenantId, Position)> {
        self.torn.as_ref()
    }

    /// Ledgers that ended before what was to be read of them, or have a gap there.
    pub(crate) fn walls(&self) -> impl Iterator<Item = (&TenantId, Position)> {
        self.walls.iter().map(|(tenant, wall)| (tenant, wall.position))
    }

    /// Reads one range each of several ledgers, which go on from what is `reflected`; up to its wall where a ledger has one.
    ///
    /// # Errors
    /// What keeps every ledger from being read. A damaged event is no error here.
    pub(crate) async fn read(
        &mut self,
        store: &Store,
        ranges: &[LedgerRange],
        reflected: &Reflected,
    ) -> Result<(), StoreError> {
        self.reads += 1;
        match store.read_linked(ranges).await {
            Ok(read) => self.link_and_take(store, read, ranges, reflected),
            Err(error) if damage(&error).is_some() => {
                for range in ranges {
                    self.read_to_damage(store, range, reflected).await?;
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Reads one ledger's range up to a damaged event, if one is there: halves the range until it holds that event alone.
    async fn read_to_damage(
        &mut self,
        store: &Store,
        range: &LedgerRange,
        reflected: &Reflected,
    ) -> Result<(), StoreError> {
        let mut good = range.after;
        let mut bad: Option<(Position, String)> = None;
        while good < bad.as_ref().map_or(range.up_to, |(bad, _)| Position(bad.0 - 1)) {
            let up_to = match &bad {
                None => range.up_to,
                Some((bad, _)) => Position(good.0 + (bad.0 - good.0) / 2),
            };
            let part = [LedgerRange { tenant: range.tenant.clone(), after: good, up_to }];
            match store.read_linked(&part).await {
                Ok(read) => {
                    self.link_and_take(store, read, &part, reflected);
                    good = up_to;
                }
                Err(error) => match damage(&error) {
                    Some(what) => bad = Some((up_to, what)),
                    None => return Err(error),
                },
            }
        }
        if let Some((position, error)) = bad {
            // An event may be missing before the damaged one: the first wall stands.
            self.walls.entry(range.tenant.clone()).or_insert(Wall { position, error });
        }
        Ok(())
    }

    fn link_and_take(
        &mut self,
        store: &Store,
        read: LinkedRanges,
        ranges: &[LedgerRange],
        reflected: &Reflected,
    ) {
        if store.can_lose_history() {
            self.link(&read, ranges, reflected);
        }
        self.take(read.events, ranges);
    }

    /// Looks whether ledgers still hold what was read of them before: at the ranges' beginnings, where all that follows depends on it, and
    /// within them, where a projection is behind the others. Events are lost from some position on, so the newest known one tells.
    fn link(&mut self, read: &LinkedRanges, ranges: &[LedgerRange], reflected: &Reflected) {
        let of: HashMap<&TenantId, &[Arc<RecordedEvent>]> = read
            .events
            .chunk_by(|a, b| a.tenant == b.tenant)
            .map(|events| (&events[0].tenant, events))
            .collect();
        for LedgerRange { tenant, after, up_to } in ranges {
            let events = of.get(tenant).copied().unwrap_or_default();
            let known = [self.ends.get(tenant), reflected.get(tenant)];
            for (position, leaf_hash) in known.into_iter().flatten() {
                let found = if position == after {
                    read.links.get(tenant).copied()
                } else if position > after && position <= up_to {
                    let found = events.iter().find(|event| event.position == *position);
                    found.map(|event| event.leaf_hash)
                } else {
                    continue;
                };
                if found != Some(*leaf_hash) {
                    self.torn = Some((tenant.clone(), *position));
                }
            }
            if let Some(last) = events.last() {
                self.ends.insert(tenant.clone(), (last.position, last.leaf_hash));
            }
        }
    }

    /// Takes over what was read of `ranges`: as positions have no gaps, a range that ends early has lost events.
    fn take(&mut self, events: Vec<Arc<RecordedEvent>>, ranges: &[LedgerRange]) {
        let ledgers = events.chunk_by(|a, b| a.tenant == b.tenant);
        let reached: HashMap<&TenantId, Position> =
            ledgers.filter_map(|events| events.last()).map(|event| (&event.tenant, event.position)).collect();
        for LedgerRange { tenant, after, up_to } in ranges {
            let reached = reached.get(tenant).copied().unwrap_or(*after);
            if reached < *up_to {
                let position = reached.next();
                let error = format!("position {position} is missing in the ledger");
                self.walls.entry(tenant.clone()).or_insert(Wall { position, error });
            }
        }
        self.facts.reserve(events.len());
        for event in events {
            self.payload_bytes += event.payload.as_str().len();
            self.facts.push(Fact::of(event));
        }
    }

    /// Brings a ledger that lies in two reads together.
    pub(crate) fn ordered(mut self) -> Self {
        if self.reads > 1 {
            // The sort is stable: positions stay in order.
            self.facts.sort_by(|a, b| a.event.tenant.cmp(&b.event.tenant));
        }
        self
    }

    /// What was read, ledger by ledger.
    pub(crate) fn parts(&self) -> Vec<LedgerPart<'_>> {
        let mut walls: BTreeMap<&TenantId, &Wall> = self.walls.iter().collect();
        let mut parts = Vec::new();
        for facts in self.facts.chunk_by(|a, b| a.event.tenant == b.event.tenant) {
            let tenant = &facts[0].event.tenant;
            parts.push(LedgerPart { tenant, facts, wall: walls.remove(tenant) });
        }
        parts.extend(walls.into_iter().map(|(tenant, wall)| LedgerPart {
            tenant,
            facts: &[],
            wall: Some(wall),
        }));
        parts
    }
}

/// What is wrong with a stored event, when that is why a read failed.
pub(crate) fn damage(error: &StoreError) -> Option<String> {
    match error {
        StoreError::Damaged(what) => Some(what.clone()),
        StoreError::Database(source)
            if matches!(**source, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) =>
        {
            Some(format!("an event cannot be read: {source}"))
        }
        _ => None,
    }
}
