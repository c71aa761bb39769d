//! Those in this process who follow ledgers, and the era in which what they remember holds.
//! Filled by the writer after each commit, shared with the front. On Postgres history can be lost under a running process: a standby that had
//! not received everything takes over, or a backup is restored. Then a new era begins, and nothing remembered is served any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::elsewhere::Elsewhere;
use crate::tail::Tail;
use crate::wake::Wake;

/// Everyone who learns what is recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Followers {
    pub(crate) wake: Arc<Wake>,
    pub(crate) tail: Arc<Tail>,
    pub(crate) elsewhere: Arc<Elsewhere>,
    era: Arc<AtomicU64>,
}

impl Followers {
    /// What was read of the ledgers in another era may not be there any more.
    pub(crate) fn era(&self) -> u64 {
        self.era.load(Ordering::Acquire)
    }

    /// The ledgers may have lost events: forgets all that is remembered of them and dismisses who follows one, to begin again.
    pub(crate) fn begin_era(&self) {
        self.era.fetch_add(1, Ordering::AcqRel);
        self.tail.clear();
        self.wake.dismiss();
    }
}
