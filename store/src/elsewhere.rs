//! What this process knows of the others that append: which ledgers they moved, and up to when that is all.
//! Told by the writer and by whoever looks for other processes' appends; asked by those who keep what they read of a stream.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use formledger_domain::{StreamId, TenantId};

use crate::append::Basis;

/// Ledgers of which it is known when another process moved them, about 100 bytes each; at the limit all count as moved now.
const MOVED_MAX: usize = 65_536;

/// A moment in what this process knows of the others, to ask about later: see [`crate::TenantLedger::is_ours_since`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(u64);

/// Ledgers that another process may have moved.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    now: Moment,
    /// When each ledger was last found moved.
    moved: HashMap<TenantId, Moment>,
    /// When all of them were.
    all: Moment,
    /// When the last look at all ledgers began: a commit of another process before that is in `moved`, or our own appends collided with it.
    looked: Option<Instant>,
}

impl Elsewhere {
    /// Now: take it before reading what is to be kept.
    pub(crate) fn moment(&self) -> Moment {
        self.known.read().unwrap_or_else(PoisonError::into_inner).now
    }

    /// Another process moved these ledgers, or may have.
    pub(crate) fn moved<'t>(&self, tenants: impl IntoIterator<Item = &'t TenantId>) {
        let mut tenants = tenants.into_iter().peekable();
        if tenants.peek().is_none() {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.now.0 += 1;
        let now = known.now;
        for tenant in tenants {
            match known.moved.get_mut(tenant) {
                Some(moved) => *moved = now,
                None => drop(known.moved.insert(tenant.clone(), now)),
            }
        }
        if known.moved.len() > MOVED_MAX {
            known.moved = HashMap::new();
            known.all = now;
        }
    }

    /// A look at all ledgers began at that time, and all that it found is told.
    pub(crate) fn looked(&self, began: Instant) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).looked = Some(began);
    }

    /// Of what decisions rest on, the streams of ledgers that another process moved since they were read.
    pub(crate) fn moved_bases<'b>(&self, bases: impl Iterator<Item = &'b Basis>) -> HashSet<&'b StreamId> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        bases
            .filter(|basis| known.has_moved_since(basis.stream.tenant(), basis.since))
            .map(|basis| &basis.stream)
            .collect()
    }

    /// Whether another process is known to have moved a ledger since.
    pub(crate) fn has_moved_since(&self, tenant: &TenantId, since: Moment) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).has_moved_since(tenant, since)
    }

    /// Whether nobody else moved a ledger since, as of at most so long ago.
    pub(crate) fn is_ours_since(&self, tenant: &TenantId, since: Moment, age_max: Duration) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.looked.is_some_and(|looked| looked.elapsed() < age_max) && !known.has_moved_since(tenant, since)
    }
}

impl Known {
    fn has_moved_since(&self, tenant: &TenantId, since: Moment) -> bool {
        // Mostly nobody else moved any.
        self.now > since && (self.all > since || self.moved.get(tenant).is_some_and(|moved| *moved > since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn tenant(slug: &str) -> TenantId {
        slug.parse().expect("slug")
    }

    #[test]
    fn a_ledger_is_ours_until_somebody_moves_it() {
        let (elsewhere, ours, theirs) = (Elsewhere::default(), tenant("ours"), tenant("theirs"));
        let before = elsewhere.moment();
        assert!(!elsewhere.is_ours_since(&ours, before, LONG), "nobody looked yet");
        elsewhere.looked(Instant::now());
        assert!(elsewhere.is_ours_since(&ours, before, LONG));
        elsewhere.moved([&theirs]);
        assert!(elsewhere.is_ours_since(&ours, before, LONG));
        assert!(!elsewhere.is_ours_since(&theirs, before, LONG));
        assert!(elsewhere.is_ours_since(&theirs, elsewhere.moment(), LONG), "it was read since");
    }

    #[test]
    fn what_was_looked_at_long_ago_says_nothing() {
        let elsewhere = Elsewhere::default();
        elsewhere.looked(Instant::now());
        let (tenant, since) = (tenant("acme"), elsewhere.moment());
        assert!(elsewhere.is_ours_since(&tenant, since, LONG));
        // Whatever the clock says: no look is younger than that.
        assert!(!elsewhere.is_ours_since(&tenant, since, Duration::ZERO));
    }

    #[test]
    fn too_many_ledgers_to_remember_all_count_as_moved() {
        let elsewhere = Elsewhere::default();
        elsewhere.looked(Instant::now());
        let (ours, before) = (tenant("ours"), elsewhere.moment());
        let others: Vec<_> = (0..=MOVED_MAX).map(|number| tenant(&format!("t{number}"))).collect();
        elsewhere.moved(&others);
        assert!(!elsewhere.is_ours_since(&ours, before, LONG));
        assert!(elsewhere.is_ours_since(&ours, elsewhere.moment(), LONG));
        assert!(elsewhere.known.read().expect("not poisoned").moved.len() <= MOVED_MAX);
    }
}
