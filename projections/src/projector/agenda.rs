//! Which ranges of which ledgers a projector reads next. What all rows still lack comes in turns with what only some lack: a projection whose
//! rows are made again from the first event on must not keep the others from following. Used by the projector.

use std::collections::{HashMap, VecDeque};

use formledger_domain::{Position, TenantId};
use formledger_store::LedgerRange;

/// Where the followers of a ledger go on that are not parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spread {
    /// The slowest of them.
    pub(super) rear: Position,
    /// The quickest.
    pub(super) front: Position,
}

impl Spread {
    /// `None` where all are parked.
    pub(super) fn of(following: impl IntoIterator<Item = Option<Position>>) -> Option<Self> {
        let mut following = following.into_iter().flatten();
        let first = following.next()?;
        let spread = Self { rear: first, front: first };
        Some(following.fold(spread, |spread, position| Self {
            rear: spread.rear.min(position),
            front: spread.front.max(position),
        }))
    }
}

/// Two sorts of what is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Sort {
    /// Behind the front: what no rows reflect yet.
    News,
    /// From the rear to the front: what some rows reflect.
    #[default]
    Arrears,
}

/// Where a ledger ends, as far as this projector heard, and whether it waits to be read.
#[derive(Debug, Default)]
struct Target {
    head: Position,
    waits: Flags,
}

/// Something of each [`Sort`].
#[derive(Debug, Default)]
struct Each<T> {
    news: T,
    arrears: T,
}

type Flags = Each<bool>;

impl<T> Each<T> {
    fn of(&mut self, sort: Sort) -> &mut T {
        match sort {
            Sort::News => &mut self.news,
            Sort::Arrears => &mut self.arrears,
        }
    }
}

/// What one batch has taken so far: up to where, of each ledger.
#[derive(Debug, Default)]
pub(super) struct Taken {
    up_to: Each<HashMap<TenantId, Position>>,
    /// Of which sort the last read was.
    last: Sort,
}

/// The ledgers that this projector heard of, and those that wait; whoever waits longest comes first.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    targets: HashMap<TenantId, Target>,
    waiting: Each<VecDeque<TenantId>>,
}

impl Agenda {
    /// Hears where a ledger ends now.
    pub(super) fn aim(&mut self, tenant: TenantId, head: Position) {
        let target = self.targets.entry(tenant).or_default();
        target.head = target.head.max(head);
    }

    /// Lets a ledger wait for its turns, where there is something to read.
    pub(super) fn queue(&mut self, tenant: &TenantId, spread: Option<Spread>) {
        let (Some(target), Some(spread)) = (self.targets.get_mut(tenant), spread) else { return };
        for sort in [Sort::News, Sort::Arrears] {
            let (start, end) = span(sort, spread, target.head);
            let waits = target.waits.of(sort);
            if start < end && !*waits {
                *waits = true;
                self.waiting.of(sort).push_back(tenant.clone());
            }
        }
    }

    /// Lets exactly those wait where there is something to read.
    pub(super) fn queue_all(&mut self, spread: impl Fn(&TenantId) -> Option<Spread>) {
        self.waiting = Each::default();
        self.targets.values_mut().for_each(|target| target.waits = Flags::default());
        let tenants: Vec<TenantId> = self.targets.keys().cloned().collect();
        for tenant in tenants {
            self.queue(&tenant, spread(&tenant));
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.news.is_empty() && self.waiting.arrears.is_empty()
    }

    /// Events that wait, of those ledgers that wait first; stops counting at `enough`.
    pub(super) fn backlog(&self, enough: u64, spread: impl Fn(&TenantId) -> Option<Spread>) -> u64 {
        let news = self.waiting.news.iter().map(|tenant| (Sort::News, tenant));
        let arrears = self.waiting.arrears.iter().map(|tenant| (Sort::Arrears, tenant));
        let mut events = 0;
        for (sort, tenant) in news.chain(arrears) {
            let (Some(target), Some(spread)) = (self.targets.get(tenant), spread(tenant)) else { continue };
            let (start, end) = span(sort, spread, target.head);
            events += end.0.saturating_sub(start.0);
            if events >= enough {
                break;
            }
        }
        events
    }

    /// Takes up to `room` events' worth of ranges from those who wait, at most one of a ledger; news and arrears by turns while both wait.
    /// Ledgers that cannot be read on in this batch (`is_walled`) are left out: who still follows them after it has them queued again.
    pub(super) fn next_ranges(
        &mut self,
        room: usize,
        taken: &mut Taken,
        spread: impl Fn(&TenantId) -> Option<Spread>,
        is_walled: impl Fn(&TenantId) -> bool,
    ) -> Vec<LedgerRange> {
        let turn = if taken.last == Sort::News { Sort::Arrears } else { Sort::News };
        let other = taken.last;
        for sort in [turn, other] {
            taken.last = sort;
            let ranges = self.ranges_of(sort, room, taken, &spread, &is_walled);
            if !ranges.is_empty() {
                return ranges;
            }
        }
        Vec::new()
    }

    fn ranges_of(
        &mut self,
        sort: Sort,
        room: usize,
        taken: &mut Taken,
        spread: &impl Fn(&TenantId) -> Option<Spread>,
        is_walled: &impl Fn(&TenantId) -> bool,
    ) -> Vec<LedgerRange> {
        let (waiting, taken) = (self.waiting.of(sort), taken.up_to.of(sort));
        let mut room = room as u64;
        let (mut ranges, mut again) = (Vec::new(), Vec::new());
        while room > 0 {
            let Some(tenant) = waiting.pop_front() else { break };
            let Some(target) = self.targets.get_mut(&tenant) else { continue };
            *target.waits.of(sort) = false;
            let Some(spread) = spread(&tenant).filter(|_| !is_walled(&tenant)) else { continue };
            let (start, end) = span(sort, spread, target.head);
            let start = taken.get(&tenant).copied().unwrap_or(start);
            if start >= end {
                continue;
            }
            let up_to = Position(end.0.min(start.0 + room));
            room -= up_to.0 - start.0;
            if up_to < end {
                *target.waits.of(sort) = true;
                again.push(tenant.clone());
            }
            taken.insert(tenant.clone(), up_to);
            ranges.push(LedgerRange { tenant, after: start, up_to });
        }
        waiting.extend(again);
        ranges
    }
}

/// After where, and up to where.
fn span(sort: Sort, spread: Spread, head: Position) -> (Position, Position) {
    match sort {
        Sort::News => (spread.front, head),
        Sort::Arrears => (spread.rear, spread.front.min(head)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().expect("a slug")
    }

    fn at(rear: u64, front: u64) -> Option<Spread> {
        Some(Spread { rear: Position(rear), front: Position(front) })
    }

    /// What the next reads of one batch take, as far as there are any.
    fn reads(agenda: &mut Agenda, room: usize, count: usize, spread: Option<Spread>) -> Vec<Vec<(u64, u64)>> {
        let mut taken = Taken::default();
        let mut read = || {
            let ranges = agenda.next_ranges(room, &mut taken, |_| spread, |_| false);
            ranges.iter().map(|range| (range.after.0, range.up_to.0)).collect()
        };
        (0..count).map(|_| read()).collect()
    }

    #[test]
    fn followers_that_are_together_are_read_for_in_one_range_after_the_other() {
        let mut agenda = Agenda::default();
        agenda.aim(tenant("acme"), Position(25));
        agenda.queue(&tenant("acme"), at(5, 5));
        assert_eq!(agenda.backlog(100, |_| at(5, 5)), 20);
        let read = reads(&mut agenda, 10, 3, at(5, 5));
        assert_eq!(read, [vec![(5, 15)], vec![(15, 25)], vec![]]);
        assert!(agenda.is_empty());
    }

    #[test]
    fn what_is_new_comes_first_and_then_in_turns_with_what_one_lacks() {
        let mut agenda = Agenda::default();
        agenda.aim(tenant("acme"), Position(120));
        agenda.queue(&tenant("acme"), at(0, 100));
        assert_eq!(agenda.backlog(1_000, |_| at(0, 100)), 120);
        let read = reads(&mut agenda, 10, 5, at(0, 100));
        assert_eq!(read, [vec![(100, 110)], vec![(0, 10)], vec![(110, 120)], vec![(10, 20)], vec![(20, 30)]]);
        assert!(!agenda.is_empty());
    }

    #[test]
    fn news_of_a_ledger_do_not_wait_for_what_others_lack() {
        let mut agenda = Agenda::default();
        for n in 0..50 {
            agenda.aim(tenant(&format!("lacking-{n}")), Position(1_000));
            agenda.queue(&tenant(&format!("lacking-{n}")), at(0, 1_000));
        }
        agenda.aim(tenant("acme"), Position(1_001));
        agenda.queue(&tenant("acme"), at(0, 1_000));
        let ranges = agenda.next_ranges(10, &mut Taken::default(), |_| at(0, 1_000), |_| false);
        assert_eq!(
            ranges,
            [LedgerRange { tenant: tenant("acme"), after: Position(1_000), up_to: Position(1_001) }]
        );
    }

    #[test]
    fn ledgers_that_are_parked_walled_or_set_back_are_not_read() {
        let mut agenda = Agenda::default();
        agenda.aim(tenant("acme"), Position(10));
        agenda.queue(&tenant("acme"), None);
        assert!(agenda.is_empty());
        agenda.queue(&tenant("acme"), at(12, 12));
        assert!(agenda.is_empty());
        agenda.queue(&tenant("acme"), at(0, 10));
        assert!(agenda.next_ranges(9, &mut Taken::default(), |_| at(0, 10), |_| true).is_empty());
        assert!(agenda.is_empty());
        agenda.queue_all(|_| at(0, 12));
        let read = reads(&mut agenda, 99, 2, at(0, 12));
        assert_eq!(read, [vec![(0, 10)], vec![]]);
    }
}
