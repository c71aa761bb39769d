//! Wake-ups inside the process: a signal that ledgers moved, never the data. Followers also poll, so a lost signal costs time, not facts.
//! The writer announces; `TenantLedger::follow` and `Store::moved` listen. Nothing here reads a database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use formledger_domain::{Position, TenantId};
use tokio::sync::{Notify, watch};

/// Everyone who waits for ledgers to move.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// One per tenant that someone follows; entries without followers are dropped when met and by [`Wake::sweep`].
    followed: Mutex<HashMap<TenantId, watch::Sender<Position>>>,
    /// One per living [`Moved`].
    listeners: Mutex<Vec<Weak<MovedSet>>>,
}

#[derive(Debug, Default)]
struct MovedSet {
    newest: Mutex<HashMap<TenantId, Position>>,
    ring: Notify,
}

impl Wake {
    /// Tells everyone that these ledgers now end there. Positions only ever grow; an older one is ignored.
    pub(crate) fn announce(&self, heads: &[(TenantId, Position)]) {
        if heads.is_empty() {
            return;
        }
        {
            let mut followed = lock(&self.followed);
            for (tenant, position) in heads {
                let Some(sender) = followed.get(tenant) else { continue };
                if sender.receiver_count() == 0 {
                    followed.remove(tenant);
                } else {
                    raise(sender, *position);
                }
            }
        }
        lock(&self.listeners).retain(|listener| {
            let Some(listener) = listener.upgrade() else { return false };
            let mut newest = lock(&listener.newest);
            for (tenant, position) in heads {
                // Most batches move tenants that are already in the set: look up before cloning the key.
                match newest.get_mut(tenant) {
                    Some(known) => *known = (*known).max(*position),
                    None => drop(newest.insert(tenant.clone(), *position)),
                }
            }
            drop(newest);
            listener.ring.notify_one();
            true
        });
    }

    /// A receiver that from now on hears of `tenant`; it may still show an older position than the database.
    pub(crate) fn follow(&self, tenant: &TenantId) -> watch::Receiver<Position> {
        let mut followed = lock(&self.followed);
        match followed.get(tenant) {
            Some(sender) => sender.subscribe(),
            None => {
                let (sender, receiver) = watch::channel(Position::START);
                followed.insert(tenant.clone(), sender);
                receiver
            }
        }
    }

    /// Raises what followers of `tenant` know to a position read from the database.
    pub(crate) fn catch_up(&self, tenant: &TenantId, position: Position) {
        if let Some(sender) = lock(&self.followed).get(tenant) {
            raise(sender, position);
        }
    }

    /// Ends what followers hear, and forgets what listeners were to be told: where ledgers are may not be true any more.
    pub(crate) fn dismiss(&self) {
        lock(&self.followed).clear();
        for listener in lock(&self.listeners).iter().filter_map(Weak::upgrade) {
            lock(&listener.newest).clear();
        }
    }

    /// A listener for all ledgers that move from now on.
    pub(crate) fn moved(&self) -> Moved {
        let set = Arc::default();
        lock(&self.listeners).push(Arc::downgrade(&set));
        Moved { set }
    }

    /// Forgets tenants that nobody follows any more.
    pub(crate) fn sweep(&self) {
        lock(&self.followed).retain(|_, sender| sender.receiver_count() > 0);
    }

    #[cfg(test)]
    fn followed_count(&self) -> usize {
        lock(&self.followed).len()
    }
}

fn raise(sender: &watch::Sender<Position>, position: Position) {
    sender.send_if_modified(|known| {
        let moved = position > *known;
        *known = position.max(*known);
        moved
    });
}

/// A panic elsewhere leaves positions that are at worst old, which followers tolerate.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells a projector which ledgers moved since it last asked.
///
/// It knows nothing of what was there before [`crate::Store::moved`] made it: take one first, then read [`crate::Store::heads`].
#[derive(Debug)]
pub struct Moved {
    set: Arc<MovedSet>,
}

impl Moved {
    /// Waits until at least one ledger moved, then gives each moved tenant once with its newest head.
    ///
    /// Cancel safe: what was not handed out waits for the next call.
    pub async fn next(&mut self) -> Vec<(TenantId, Position)> {
        loop {
            let newest = std::mem::take(&mut *lock(&self.set.newest));
            if !newest.is_empty() {
                return newest.into_iter().collect();
            }
            self.set.ring.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(slug: &str) -> TenantId {
        slug.parse().expect("slug")
    }

    #[tokio::test]
    async fn moves_between_two_questions_come_once_with_the_newest_head() {
        let wake = Wake::default();
        let mut moved = wake.moved();
        wake.announce(&[(tenant("a"), Position(3)), (tenant("b"), Position(1))]);
        wake.announce(&[(tenant("a"), Position(5))]);
        wake.announce(&[(tenant("a"), Position(4))]);
        let mut heads = moved.next().await;
        heads.sort();
        assert_eq!(heads, [(tenant("a"), Position(5)), (tenant("b"), Position(1))]);
    }

    #[tokio::test]
    async fn a_follower_hears_its_own_tenant_and_never_goes_back() {
        let wake = Wake::default();
        let mut receiver = wake.follow(&tenant("a"));
        wake.announce(&[(tenant("a"), Position(2)), (tenant("b"), Position(9))]);
        wake.announce(&[(tenant("a"), Position(1))]);
        receiver.changed().await.expect("sender lives");
        assert_eq!(*receiver.borrow_and_update(), Position(2));
        assert!(!receiver.has_changed().expect("sender lives"));
    }

    #[tokio::test]
    async fn who_is_dismissed_begins_again_at_a_lower_position() {
        let wake = Wake::default();
        let mut dismissed = wake.follow(&tenant("a"));
        wake.announce(&[(tenant("a"), Position(9))]);
        dismissed.changed().await.expect("sender lives");
        wake.dismiss();
        dismissed.changed().await.expect_err("hears no more");
        let again = wake.follow(&tenant("a"));
        wake.announce(&[(tenant("a"), Position(4))]);
        assert_eq!(*again.borrow(), Position(4));
    }

    #[test]
    fn nobody_listening_costs_no_memory() {
        let wake = Wake::default();
        for n in 0..100 {
            drop(wake.follow(&tenant(&format!("t{n}"))));
        }
        wake.announce(&[(tenant("t0"), Position(1))]);
        assert_eq!(wake.followed_count(), 99);
        wake.sweep();
        assert_eq!(wake.followed_count(), 0);

        drop(wake.moved());
        wake.announce(&[(tenant("t0"), Position(2))]);
        assert!(lock(&wake.listeners).is_empty());
    }
}
