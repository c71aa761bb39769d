//! What one batch takes out of the ledgers: events in order, and where a ledger cannot be read on. Used by the projector, which says what
//! to read; followers stop at a wall. One ledger's damage must never keep the others from being read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use formledger_domain::{Position, TenantId};
use formledger_store::{LedgerRange, LinkedRanges, RecordedEvent, Store, StoreError};

use crate::projection::Fact;
use crate::witness::{LeafHash, Reflected};

/// What was read of several ledgers.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Sorted by tenant and position once the batch is [`Batch::ordered`].
    facts: Vec<Fact>,
    /// What was read of each ledger; more than one range where projections are far apart.
    ranges: BTreeMap<TenantId, Vec<Range>>,
    walls: BTreeMap<TenantId, Wall>,
    payload_bytes: usize,
    reads: usize,
    /// Where each ledger's last range ended.
    ends: Reflected,
    /// A ledger that does not go on from what was read of it before.
    torn: Option<(TenantId, Position)>,
}

/// Consecutive positions of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    after: Position,
    up_to: Position,
}

impl Range {
    fn holds(&self, position: Position) -> bool {
        self.after < position && position <= self.up_to
    }
}

/// An event that is missing in the ledger or damaged there; nothing behind it is read.
#[derive(Debug)]
pub(crate) struct Wall {
    pub(crate) position: Position,
    /// What is wrong with it.
    pub(crate) error: String,
}

/// Consecutive positions that were read of one ledger, up to its wall where there is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LedgerPart<'a> {
    pub(crate) tenant: &'a TenantId,
    /// The position before it. Who has not come that far goes on in another part, or in another batch.
    pub(crate) after: Position,
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

    /// Position and leaf hash of the last event, of a batch of one ledger.
    pub(crate) fn last(&self) -> Option<(Position, LeafHash)> {
        self.facts.last().map(|fact| (fact.event.position, fact.event.leaf_hash))
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
        self.note(&range.tenant, Range { after: good, up_to: good });
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
            self.note(tenant, Range { after: *after, up_to: *up_to });
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

    /// Takes note of what is read, which may go on from what was.
    fn note(&mut self, tenant: &TenantId, read: Range) {
        let Some(ranges) = self.ranges.get_mut(tenant) else {
            self.ranges.insert(tenant.clone(), vec![read]);
            return;
        };
        match ranges.iter_mut().find(|range| range.up_to == read.after) {
            Some(range) => range.up_to = read.up_to,
            None => ranges.push(read),
        }
    }

    /// Brings what was read of a ledger together.
    pub(crate) fn ordered(mut self) -> Self {
        if self.reads > 1 {
            let place = |fact: &Fact| fact.event.position;
            self.facts.sort_by(|a, b| (&a.event.tenant, place(a)).cmp(&(&b.event.tenant, place(b))));
        }
        for (tenant, ranges) in &mut self.ranges {
            let wall = self.walls.get(tenant).map(|wall| wall.position);
            ranges.sort_by_key(|range| range.after);
            ranges.dedup_by(|next, range| {
                // Nobody comes from one side of a wall to the other.
                let is_one = range.up_to == next.after && !wall.is_some_and(|wall| range.holds(wall));
                if is_one {
                    range.up_to = next.up_to;
                }
                is_one
            });
        }
        self
    }

    /// What was read, ledger by ledger, and in order of position.
    pub(crate) fn parts(&self) -> Vec<LedgerPart<'_>> {
        let mut parts = Vec::with_capacity(self.ranges.len());
        let mut rest = &*self.facts;
        for (tenant, ranges) in &self.ranges {
            for range in ranges {
                let is_here =
                    |fact: &&Fact| fact.event.tenant == *tenant && fact.event.position <= range.up_to;
                let (facts, others) = rest.split_at(rest.iter().take_while(is_here).count());
                rest = others;
                // One behind the range is what it ended at.
                let meets = |wall: &&Wall| range.after < wall.position && wall.position <= range.up_to.next();
                let wall = self.walls.get(tenant).filter(meets);
                parts.push(LedgerPart { tenant, after: range.after, facts, wall });
            }
        }
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
