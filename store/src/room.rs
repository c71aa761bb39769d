//! How much of the writer's queue is taken, and by whom: what is too much is said before memory grows, and no tenant takes all of it.
//! Asked by `TenantLedger` before a command is made; what a command holds is given back when it is answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use formledger_domain::TenantId;

use crate::error::StoreError;

/// What all commands may hold together, those that are being recorded included.
///
/// A tenant may hold as much as remains free: one alone gets half of it, two get a third each, and whoever comes next finds room. (The
/// dynamic threshold of Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998, with factor 1.)
#[derive(Debug)]
pub(crate) struct Room {
    max: Amount,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: Amount,
    /// Of those who hold something.
    tenants: HashMap<TenantId, Amount>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Amount {
    commands: usize,
    bytes: usize,
}

/// What one command holds, until dropped.
#[derive(Debug)]
pub(crate) struct Share {
    room: Arc<Room>,
    tenant: TenantId,
    bytes: usize,
}

impl Room {
    pub(crate) fn new(commands: usize, bytes: usize) -> Arc<Self> {
        metrics::describe_gauge!(
            "formledger_append_queue_bytes",
            metrics::Unit::Bytes,
            "What commands hold that wait for the writer or are being recorded"
        );
        metrics::describe_counter!(
            "formledger_append_queue_refusals_total",
            "Commands refused because of the queue, by what was full: `commands`, `bytes`, or the `tenant`'s part"
        );
        // A series that begins with its first refusal shows no increase.
        for full in ["commands", "bytes", "tenant"] {
            metrics::counter!("formledger_append_queue_refusals_total", "full" => full).increment(0);
        }
        Arc::new(Self { max: Amount { commands, bytes }, taken: Mutex::default() })
    }

    /// Takes room for one command of a tenant. What is larger than all of it gets in alone.
    ///
    /// # Errors
    /// [`StoreError::QueueFull`].
    pub(crate) fn take(self: &Arc<Self>, tenant: &TenantId, bytes: usize) -> Result<Share, StoreError> {
        let mut taken = self.lock();
        let all = taken.all.with(bytes);
        let held = taken.tenants.get(tenant).copied().unwrap_or_default().with(bytes);
        if let Some(full) = self.full(all, held) {
            return Err(self::full(full));
        }
        taken.all = all;
        match taken.tenants.get_mut(tenant) {
            Some(known) => *known = held,
            None => drop(taken.tenants.insert(tenant.clone(), held)),
        }
        Ok(Share { room: self.clone(), tenant: tenant.clone(), bytes })
    }

    /// What would be full with so much taken of all and held by a tenant.
    fn full(&self, all: Amount, held: Amount) -> Option<&'static str> {
        if all.commands > self.max.commands {
            Some("commands")
        } else if all.bytes > self.max.bytes && all.commands > 1 {
            Some("bytes")
        } else if held.commands > 1 && !held.fits(self.max.less(all)) {
            Some("tenant")
        } else {
            None
        }
    }

    /// Sets the gauge of what all commands hold.
    pub(crate) fn report(&self) {
        metrics::gauge!("formledger_append_queue_bytes").set(self.lock().all.bytes as f64);
    }

    /// A panic elsewhere leaves complete amounts.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command is refused, because `full` is.
pub(crate) fn full(full: &'static str) -> StoreError {
    metrics::counter!("formledger_append_queue_refusals_total", "full" => full).increment(1);
    StoreError::QueueFull
}

impl Amount {
    /// With one more command.
    fn with(self, bytes: usize) -> Self {
        Self { commands: self.commands + 1, bytes: self.bytes + bytes }
    }

    fn less(self, other: Self) -> Self {
        Self {
            commands: self.commands.saturating_sub(other.commands),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    fn fits(self, room: Self) -> bool {
        self.commands <= room.commands && self.bytes <= room.bytes
    }
}

impl Share {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let one = Amount { commands: 1, bytes: self.bytes };
        let mut taken = self.room.lock();
        taken.all = taken.all.less(one);
        if let Some(held) = taken.tenants.get_mut(&self.tenant) {
            *held = held.less(one);
            if held.commands == 0 {
                taken.tenants.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes until there is no room; gives what was taken.
    fn fill(room: &Arc<Room>, tenant: &str, bytes: usize) -> Vec<Share> {
        let tenant = tenant.parse().expect("a slug");
        std::iter::from_fn(|| room.take(&tenant, bytes).ok()).collect()
    }

    #[test]
    fn a_tenant_alone_gets_half_and_leaves_room_for_whoever_comes() {
        for room in [Room::new(1_200, usize::MAX), Room::new(usize::MAX, 1_200)] {
            let first = fill(&room, "a", 1);
            let second = fill(&room, "b", 1);
            let third = fill(&room, "c", 1);
            assert_eq!([first.len(), second.len(), third.len()], [600, 300, 150]);
            assert!(fill(&room, "a", 1).is_empty());
            drop(first);
            assert!(!fill(&room, "b", 1).is_empty(), "what was given back is there for all");
        }
    }

    #[test]
    fn what_is_answered_leaves_nothing_behind() {
        let room = Room::new(100, 100);
        drop((fill(&room, "a", 7), fill(&room, "b", 9)));
        let taken = room.lock();
        assert_eq!((taken.all, taken.tenants.len()), (Amount::default(), 0));
    }

    #[test]
    fn what_is_larger_than_all_room_gets_in_alone() {
        let room = Room::new(100, 100);
        let large = fill(&room, "a", 1_000);
        assert_eq!(large.len(), 1);
        assert!(fill(&room, "b", 1).is_empty());
        drop(large);
        assert_eq!(fill(&room, "b", 1).len(), 50);
    }
}
