//! Reads a ledger again from its first event and says where it differs from what was recorded.
//! Called by `formledger verify` and by tests; it changes nothing and trusts no hash that it did not compute.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use formledger_domain::{Position, TenantId};
use serde_json::value::RawValue;

use crate::backend::Head;
use crate::envelope::{OpenLeaf, Opening, hex, rfc3339};
use crate::error::StoreError;
use crate::event::StoredEvent;
use crate::ledger::LedgerRange;
use crate::merkle::{Frontier, Hash};
use crate::reader::Reader;
use crate::store::Store;
use crate::stored::{self, Stray, StreamPlace};

/// Events read at a time, about 2 KB each.
const PAGE_EVENTS: u64 = 1024;
/// Differences that a report lists; all are counted.
const DIFFERENCES_LISTED_MAX: usize = 1000;

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyProgress {
    /// The last position that was checked.
    pub position: Position,
    /// The last position that will be.
    pub head: Position,
}

/// Something that is not as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where in the ledger; `None` when it concerns the ledger as a whole.
    pub position: Option<Position>,
    /// What was found and what should be there, for people.
    pub what: String,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// The ledger's owner.
    pub tenant: TenantId,
    /// Events that were read.
    pub events: u64,
    /// The Merkle root over what was read, 32 bytes.
    pub root_hash: [u8; 32],
    /// The first thousand differences; empty for a sound ledger.
    pub differences: Vec<Difference>,
    /// All differences, also those that are not listed.
    pub differences_count: u64,
    /// Whether events of other tenants in this one's streams could be seen; where the login sees one tenant alone, none of them can.
    pub others_seen: bool,
}

impl VerifyReport {
    /// Whether everything is as it was recorded.
    pub fn is_sound(&self) -> bool {
        self.differences_count == 0
    }
}

impl Store {
    /// Reads `tenant`'s ledger up to its present head and checks positions, sequences, times, hashes, tree and head; then that it has no event
    /// outside of that.
    ///
    /// Memory does not grow with the ledger. Appends may go on meanwhile; they are not checked.
    ///
    /// # Errors
    /// When the database cannot be read. What is read and wrong is in the report.
    pub async fn verify(
        &self,
        tenant: &TenantId,
        progress: impl FnMut(VerifyProgress) + Send,
    ) -> Result<VerifyReport, StoreError> {
        let reader = self.reader();
        let mut check = Check::new(tenant);
        check.others_seen = reader.sees_every_tenant();
        let head = match reader.head(tenant).await {
            Ok(head) => head.unwrap_or_default(),
            Err(StoreError::Damaged(what)) => {
                check.differs(None, what);
                return Ok(check.report());
            }
            Err(error) => return Err(error),
        };
        check.events(reader, &head, progress).await?;
        check.streams(reader, &head).await?;
        check.head(&head);
        check.strays(reader).await?;
        Ok(check.report())
    }
}

/// What is known of the ledger after the events read so far.
struct Check<'a> {
    tenant: &'a TenantId,
    events: u64,
    position: Position,
    recorded_at: Option<DateTime<Utc>>,
    tree: Frontier,
    aggregate_types: BTreeSet<String>,
    /// Events up to the head that were met when walking the streams.
    stream_places: u64,
    differences: Vec<Difference>,
    differences_count: u64,
    others_seen: bool,
}

impl<'a> Check<'a> {
    fn new(tenant: &'a TenantId) -> Self {
        Self {
            tenant,
            events: 0,
            position: Position::START,
            recorded_at: None,
            tree: Frontier::default(),
            aggregate_types: BTreeSet::new(),
            stream_places: 0,
            differences: Vec::new(),
            differences_count: 0,
            others_seen: true,
        }
    }

    fn differs(&mut self, position: Option<Position>, what: impl Into<String>) {
        self.differences_count += 1;
        if self.differences.len() < DIFFERENCES_LISTED_MAX {
            self.differences.push(Difference { position, what: what.into() });
        }
    }

    async fn events(
        &mut self,
        reader: &Reader,
        head: &Head,
        mut progress: impl FnMut(VerifyProgress) + Send,
    ) -> Result<(), StoreError> {
        let mut after = Position::START;
        while after < head.position {
            let up_to = Position((after.0 + PAGE_EVENTS).min(head.position.0));
            for event in self.page(reader, after, up_to).await? {
                self.event(event);
            }
            after = up_to;
            progress(VerifyProgress { position: after, head: head.position });
        }
        if self.position < head.position {
            let (from, to) = (self.position.next(), head.position);
            self.differs(Some(from), format!("positions {from} to {to} are missing"));
        }
        Ok(())
    }

    /// A page of events; when one cannot be read at all, the others one by one.
    async fn page(
        &mut self,
        reader: &Reader,
        after: Position,
        up_to: Position,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let tenant = self.tenant;
        let range = |after, up_to| LedgerRange { tenant: tenant.clone(), after, up_to };
        match reader.read_ranges(&[&range(after, up_to)]).await {
            Ok(mut events) => {
                events.sort_by_key(|event| event.position);
                return Ok(events);
            }
            Err(StoreError::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
        let mut events = Vec::new();
        for position in (after.0..up_to.0).map(Position) {
            match reader.read_ranges(&[&range(position, position.next())]).await {
                Err(StoreError::Damaged(what)) => self.differs(Some(position.next()), what),
                event => events.extend(event?),
            }
        }
        Ok(events)
    }

    fn event(&mut self, event: StoredEvent) {
        let position = event.position;
        if position != self.position.next() {
            let from = self.position.next();
            self.differs(Some(from), format!("positions {from} to {} are missing", position.0 - 1));
        }
        if self.recorded_at.is_some_and(|before| event.recorded_at < before) {
            self.differs(Some(position), "recorded before the event at the position before");
        }
        match leaf_hash(&event) {
            Ok(leaf_hash) => {
                if leaf_hash != event.leaf_hash {
                    let (stored, computed) = (hex(&event.leaf_hash), hex(&leaf_hash));
                    let what = format!("the leaf hash is `{stored}`, what is stored hashes to `{computed}`");
                    self.differs(Some(position), what);
                }
                self.tree.append(leaf_hash);
            }
            Err(error) => self.differs(Some(position), format!("the metadata is not JSON: {error}")),
        }
        if let Err(why) = event.payload.check() {
            self.differs(
                Some(position),
                format!("the payload is not what this program would have recorded: {why}"),
            );
        }
        self.events += 1;
        self.position = position;
        self.recorded_at = Some(event.recorded_at);
        if !self.aggregate_types.contains(&*event.aggregate_type) {
            self.aggregate_types.insert(event.aggregate_type.into_owned());
        }
    }

    /// Walks the streams in order of sequence. Streams are found by their types, which the events told.
    async fn streams(&mut self, reader: &Reader, head: &Head) -> Result<(), StoreError> {
        for aggregate_type in std::mem::take(&mut self.aggregate_types) {
            let mut before: Option<StreamPlace> = None;
            loop {
                let page =
                    reader.stream_places(self.tenant, &aggregate_type, before.as_ref(), PAGE_EVENTS).await?;
                if page.is_empty() {
                    break;
                }
                for place in page {
                    if place.tenant != self.tenant.as_str() {
                        self.foreign_place(&place);
                    } else if let Some(position) = within(&place, head) {
                        // What was appended since the head was read is for the next verification, what is outside of the ledger for `strays`.
                        self.stream_place(before.as_ref(), &place, position);
                    }
                    before = Some(place);
                }
            }
        }
        if self.stream_places != self.events {
            let what =
                format!("{} events are read by position, {} by stream", self.events, self.stream_places);
            self.differs(None, what);
        }
        Ok(())
    }

    /// A row in a stream of this ledger that another one owns: no position, hash or root of this ledger vouches for it.
    fn foreign_place(&mut self, place: &StreamPlace) {
        let StreamPlace { aggregate_id, sequence, position, tenant } = place;
        self.differs(
            None,
            format!("sequence {sequence} of `{aggregate_id}` is event {position} of `{tenant}`"),
        );
    }

    fn stream_place(&mut self, before: Option<&StreamPlace>, place: &StreamPlace, position: Position) {
        self.stream_places += 1;
        let before = before.filter(|before| before.aggregate_id == place.aggregate_id);
        let expected = before.map_or(0, |before| before.sequence).saturating_add(1);
        let (stream, sequence) = (&place.aggregate_id, place.sequence);
        if sequence != expected {
            self.differs(Some(position), format!("sequence {sequence} of `{stream}` should be {expected}"));
        }
        if before.is_some_and(|before| before.position >= place.position) {
            let what = format!("sequence {sequence} of `{stream}` stands before the sequence before it");
            self.differs(Some(position), what);
        }
    }

    fn head(&mut self, head: &Head) {
        if self.tree != head.frontier {
            let (stored, computed) = (hex(&head.frontier.root()), hex(&self.tree.root()));
            self.differs(None, format!("the ledger's root is `{stored}`, its events give `{computed}`"));
        }
        let newest = self.recorded_at.map_or(0, |time| time.timestamp_micros());
        if newest != head.recorded_at {
            self.differs(None, "the ledger's time is not that of its newest event");
        }
    }

    /// Events that no position of the ledger leads to, of whatever stream: the root does not vouch for them. Each page knows where the ledger ended
    /// when it was read, because head and events move in one transaction: what is appended meanwhile is none.
    async fn strays(&mut self, reader: &Reader) -> Result<(), StoreError> {
        let mut from = Some(i64::MIN);
        while let Some(first) = from {
            let page = reader.strays(self.tenant, first, PAGE_EVENTS).await?;
            page.iter().for_each(|stray| self.stray(stray));
            from = page.last().and_then(|last| last.position.checked_add(1));
        }
        Ok(())
    }

    fn stray(&mut self, stray: &Stray) {
        let Stray { position, aggregate_type, aggregate_id, sequence, head } = stray;
        let what = format!("sequence {sequence} of `{aggregate_id}` ({aggregate_type})");
        match stored::position(*position) {
            Ok(position) => {
                self.differs(
                    Some(position),
                    format!("the ledger ends at {head}, but {what} stands after it"),
                );
            }
            Err(_) => self.differs(None, format!("{what} stands at {position}, where no ledger has events")),
        }
    }

    fn report(self) -> VerifyReport {
        VerifyReport {
            tenant: self.tenant.clone(),
            events: self.events,
            root_hash: self.tree.root(),
            differences: self.differences,
            differences_count: self.differences_count,
            others_seen: self.others_seen,
        }
    }
}

/// Where in the ledger a place is; `None` outside of it.
fn within(place: &StreamPlace, head: &Head) -> Option<Position> {
    stored::position(place.position).ok().filter(|position| *position <= head.position)
}

fn leaf_hash(event: &StoredEvent) -> Result<Hash, serde_json::Error> {
    let metadata: &RawValue = serde_json::from_str(&event.metadata)?;
    let leaf = OpenLeaf::new(&Opening {
        aggregate_id: &event.aggregate_id,
        aggregate_type: &event.aggregate_type,
        event_id: event.event_id,
        event_type: &event.event_type,
        event_version: &event.event_version,
        metadata,
        payload_sha256: event.payload.sha256(),
    });
    Ok(leaf.close(&event.tenant, event.position, event.sequence, &rfc3339(event.recorded_at)))
}
