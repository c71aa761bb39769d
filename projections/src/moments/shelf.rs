//! Which moments are there or being made, by tenant and position, and which of them go when there are too many. No I/O but for files that
//! go with the last who reads them, which the caller drops outside of the lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use formledger_domain::{Position, TenantId};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::{KeptMoment, MomentSettings, Stage};

/// All moments of this process.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// The ledgers' era in which they were folded.
    era: u64,
    tenants: HashMap<TenantId, OfTenant>,
}

#[derive(Debug, Default)]
struct OfTenant {
    /// Whose turn it is: one moment of a tenant is folded at a time, so that the next can go on from it.
    turn: Arc<Mutex<()>>,
    moments: BTreeMap<Position, Entry>,
}

#[derive(Debug)]
struct Entry {
    stage: watch::Receiver<Stage>,
    /// When somebody asked for it last.
    asked: Instant,
    /// Until when somebody who was told to ask again may come back; `None` when nobody was.
    expected_until: Option<Instant>,
}

/// What there is of a moment.
pub(super) enum Found {
    /// It is there or being made.
    Known(watch::Receiver<Stage>),
    /// It is to be made now.
    Begun { stages: watch::Receiver<Stage>, announce: watch::Sender<Stage>, turn: Arc<Mutex<()>> },
    /// It cannot be made now.
    Full,
}

impl Entry {
    fn kept(&self) -> Option<Arc<KeptMoment>> {
        match &*self.stage.borrow() {
            Stage::Ready(kept) => Some(Arc::clone(kept)),
            _ => None,
        }
    }
}

impl OfTenant {
    fn waiting(&self) -> usize {
        self.moments.values().filter(|entry| entry.kept().is_none()).count()
    }
}

impl Shelf {
    /// The moment, or a place for it.
    pub(super) fn find(&mut self, tenant: &TenantId, position: Position, settings: &MomentSettings) -> Found {
        let waiting: usize = self.tenants.values().map(OfTenant::waiting).sum();
        let own = self.tenants.entry(tenant.clone()).or_default();
        if let Some(entry) = own.moments.get_mut(&position) {
            entry.asked = Instant::now();
            return Found::Known(entry.stage.clone());
        }
        if waiting >= settings.waiting_max || own.waiting() >= settings.waiting_per_tenant_max {
            return Found::Full;
        }
        let (announce, stages) = watch::channel(Stage::Waiting);
        let entry = Entry { stage: stages.clone(), asked: Instant::now(), expected_until: None };
        own.moments.insert(position, entry);
        Found::Begun { stages, announce, turn: Arc::clone(&own.turn) }
    }

    /// Somebody was told to ask again, and does so by `until` if at all.
    pub(super) fn expect_back(&mut self, tenant: &TenantId, position: Position, until: Instant) {
        let entry = self.tenants.get_mut(tenant).and_then(|own| own.moments.get_mut(&position));
        if let Some(entry) = entry {
            entry.expected_until = Some(entry.expected_until.map_or(until, |known| known.max(until)));
        }
    }

    /// Takes out a moment that is being made, when nobody waits for it and nobody is to come back; whoever asks for it later begins anew.
    /// Answers whether nobody wants it.
    pub(super) fn abandon(
        &mut self,
        tenant: &TenantId,
        position: Position,
        announce: &watch::Sender<Stage>,
    ) -> bool {
        let listening = announce.receiver_count();
        let entry = self.tenants.get(tenant).and_then(|own| own.moments.get(&position));
        // Another one, or none, when the ledgers' era ended meanwhile.
        let entry = entry.filter(|entry| entry.stage.same_channel(&announce.subscribe()));
        let is_expected =
            entry.is_some_and(|entry| entry.expected_until.is_some_and(|until| Instant::now() < until));
        // The shelf listens, too.
        if is_expected || listening > usize::from(entry.is_some()) {
            return false;
        }
        if entry.is_some() {
            self.remove(tenant, position);
        }
        true
    }

    /// Takes out all that is there and leaves what is being made; answers it, to be dropped.
    pub(super) fn take_kept(&mut self) -> Vec<Arc<KeptMoment>> {
        let kept = |own: &OfTenant| own.moments.values().filter_map(Entry::kept).collect::<Vec<_>>();
        let gone: Vec<(TenantId, Vec<Arc<KeptMoment>>)> =
            self.tenants.iter().map(|(tenant, own)| (tenant.clone(), kept(own))).collect();
        for (tenant, kept) in &gone {
            for kept in kept {
                self.remove(tenant, kept.position);
            }
        }
        gone.into_iter().flat_map(|(_, kept)| kept).collect()
    }

    /// The latest moment of a tenant before `position` that is there.
    pub(super) fn nearest(&self, tenant: &TenantId, position: Position) -> Option<Arc<KeptMoment>> {
        self.tenants.get(tenant)?.moments.range(..position).rev().find_map(|(_, entry)| entry.kept())
    }

    /// Takes out a moment that was not made, or is not to be kept.
    pub(super) fn remove(&mut self, tenant: &TenantId, position: Position) {
        if let Some(own) = self.tenants.get_mut(tenant) {
            own.moments.remove(&position);
            if own.moments.is_empty() {
                self.tenants.remove(tenant);
            }
        }
    }

    /// Takes out what was folded in an earlier era, what nobody asked for in a long time, and what is too much; answers it, to be dropped.
    pub(super) fn tidy(&mut self, era: u64, settings: &MomentSettings) -> Vec<Arc<KeptMoment>> {
        let mut gone = Vec::new();
        if era != self.era {
            // Events may have been lost, and others be at their positions now.
            let of_before = std::mem::take(&mut self.tenants);
            gone.extend(of_before.values().flat_map(|own| own.moments.values().filter_map(Entry::kept)));
            self.era = era;
        }
        let mut kept: Vec<(Instant, TenantId, Arc<KeptMoment>)> = Vec::new();
        for (tenant, own) in &self.tenants {
            kept.extend(
                own.moments.values().filter_map(|entry| Some((entry.asked, tenant.clone(), entry.kept()?))),
            );
        }
        kept.sort_by_key(|(asked, ..)| *asked);
        let (mut count, mut bytes) = (kept.len(), kept.iter().map(|(.., kept)| kept.bytes).sum::<u64>());
        for (asked, tenant, kept) in kept {
            let is_idle = asked.elapsed() > settings.idle_max;
            if !is_idle && count <= settings.kept_max && bytes <= settings.bytes_max {
                break;
            }
            count -= 1;
            bytes -= kept.bytes;
            self.remove(&tenant, kept.position);
            gone.push(kept);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_fold_goes_on_for_who_waits_and_for_who_was_told_to_ask_again_and_for_nobody_else() {
        let (acme, position) = ("acme".parse::<TenantId>().expect("a slug"), Position(7));
        let (mut shelf, settings) = (Shelf::default(), MomentSettings::default());
        let Found::Begun { stages, announce, .. } = shelf.find(&acme, position, &settings) else {
            panic!("nothing is there")
        };
        assert!(!shelf.abandon(&acme, position, &announce), "somebody waits");
        let second = stages.clone();
        drop(stages);
        assert!(!shelf.abandon(&acme, position, &announce), "somebody else waits");
        shelf.expect_back(&acme, position, Instant::now() + Duration::from_secs(30));
        drop(second);
        assert!(!shelf.abandon(&acme, position, &announce), "somebody was told to ask again");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(shelf.abandon(&acme, position, &announce), "and did not");
        let Found::Begun { stages, announce: anew, .. } = shelf.find(&acme, position, &settings) else {
            panic!("it was taken out")
        };
        assert!(shelf.abandon(&acme, position, &announce), "the first fold is still nobody's");
        assert!(!shelf.abandon(&acme, position, &anew), "and leaves the second alone");
        drop(stages);
        assert!(shelf.abandon(&acme, position, &anew));
        assert!(shelf.tenants.is_empty());
    }
}
