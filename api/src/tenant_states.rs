//! Tenants as their own streams say they are: API keys, and what is audited. Asked with every use of a key.
//! Filled from the ledger; what this process changes is read again before it is acknowledged, what another one changes within
//! [`POLL_INTERVAL`], so that a revoked key is not good for longer than that anywhere. What is audited may be older, see [`LATELY`].

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cqrs_es::Aggregate;
use formledger_domain::{LedgerAggregate, Tenant, TenantContext, TenantId};
use formledger_store::{POLL_INTERVAL, RecordedEvent, TenantLedger, causes};
use tokio::sync::{Mutex, RwLock, RwLockReadGuard};

use crate::bounded::BoundedMap;
use crate::error::ApiError;
use crate::limits::KNOWN_TENANTS_MAX;

/// Loads that may run at once, chosen by tenant: a flood of keys that name tenants at random waits for itself, not for everybody.
const LOADERS: usize = 8;

/// How old what is known of a tenant may be where it decides nothing but what is audited.
const LATELY: Duration = Duration::from_secs(10);
/// How long such a question waits for the ledger when something older is known.
const PATIENCE: Duration = Duration::from_millis(250);

/// The tenants in use, folded from their streams.
pub struct TenantStates {
    known: BoundedMap<TenantId, Known>,
    loaders: [Mutex<()>; LOADERS],
    changes: [RwLock<()>; LOADERS],
}

#[derive(Clone)]
struct Known {
    tenant: Arc<Tenant>,
    loaded: Instant,
    /// When it was last tried to load it.
    asked: Instant,
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.loaded.elapsed() < POLL_INTERVAL
    }
}

impl TenantStates {
    /// Knows none yet.
    pub fn new() -> Self {
        Self {
            known: BoundedMap::new(KNOWN_TENANTS_MAX),
            loaders: Default::default(),
            changes: Default::default(),
        }
    }

    /// The tenant of `context`, as it was recorded at most [`POLL_INTERVAL`] ago; empty when it does not exist.
    ///
    /// # Errors
    /// When the ledger cannot be read: what is not known to be good is not taken for it.
    pub async fn of(&self, ledger: &TenantLedger, context: &TenantContext) -> Result<Arc<Tenant>, ApiError> {
        if let Some(known) = self.known.get(&context.tenant).filter(Known::is_fresh) {
            return Ok(known.tenant);
        }
        let _loading = self.loader(&context.tenant).lock().await;
        match self.known.get(&context.tenant).filter(Known::is_fresh) {
            Some(known) => Ok(known.tenant),
            None => self.load(ledger, context).await,
        }
    }

    /// The tenant of `context` as it was recorded at most [`LATELY`] ago; older where the ledger does not say more within [`PATIENCE`], so
    /// that queries, which all ask, go on without the ledger as they would otherwise. Not for credentials.
    ///
    /// # Errors
    /// When nothing is known yet and the ledger cannot be read.
    pub async fn lately(
        &self,
        ledger: &TenantLedger,
        context: &TenantContext,
    ) -> Result<Arc<Tenant>, ApiError> {
        let Some(known) = self.known.get(&context.tenant) else { return self.of(ledger, context).await };
        if known.asked.elapsed() < LATELY {
            return Ok(known.tenant);
        }
        match tokio::time::timeout(PATIENCE, self.of(ledger, context)).await {
            Ok(Ok(tenant)) => Ok(tenant),
            Ok(Err(_)) | Err(_) => {
                // It stays as old as it is to credentials; only nobody else waits for the same again soon.
                let asked = Instant::now();
                self.known.insert(context.tenant.clone(), Known { asked, ..known.clone() });
                Ok(known.tenant)
            }
        }
    }

    /// A change of the tenant begins here, and ends with what is answered being dropped: from before it is recorded until what is known here has it.
    pub async fn changing(&self, tenant: &TenantId) -> RwLockReadGuard<'_, ()> {
        self.changes[place(tenant)].read().await
    }

    /// Waits until changes that began here are known here: who was woken by an event hears of it before who recorded it does.
    pub async fn settled(&self, tenant: &TenantId) {
        drop(self.changes[place(tenant)].write().await);
    }

    /// Makes the next request see the tenant as it is recorded now.
    ///
    /// Cannot fail, because what was recorded is to be acknowledged: when the stream cannot be read now, it is forgotten.
    pub async fn refresh(&self, ledger: &TenantLedger, context: &TenantContext) {
        // After a load that began earlier, so that what it read cannot replace what is read now.
        let _loading = self.loader(&context.tenant).lock().await;
        if let Err(error) = self.load(ledger, context).await {
            self.known.remove(&context.tenant);
            let tenant = context.tenant.as_str();
            tracing::warn!(tenant, cause = causes(&error), "a changed tenant could not be read again");
        }
    }

    async fn load(&self, ledger: &TenantLedger, context: &TenantContext) -> Result<Arc<Tenant>, ApiError> {
        let loaded = Instant::now();
        let tenant = Arc::new(fold(&ledger.load(&context.stream::<Tenant>(&context.tenant)).await?)?);
        // Of a tenant that does not exist nothing is kept, so that names made up by strangers displace nobody.
        if tenant.is_registered() {
            self.known
                .insert(context.tenant.clone(), Known { tenant: Arc::clone(&tenant), loaded, asked: loaded });
        }
        Ok(tenant)
    }

    fn loader(&self, tenant: &TenantId) -> &Mutex<()> {
        &self.loaders[place(tenant)]
    }
}

fn place(tenant: &TenantId) -> usize {
    let mut hasher = DefaultHasher::new();
    tenant.hash(&mut hasher);
    (hasher.finish() % LOADERS as u64) as usize
}

/// The tenant after these events of its stream, from the first on.
fn fold(events: &[RecordedEvent]) -> Result<Tenant, ApiError> {
    let mut tenant = Tenant::default();
    for event in events {
        let decoded = Tenant::decode(&event.event_type, &event.event_version, &event.payload);
        tenant.apply(decoded.map_err(ApiError::internal)?);
    }
    Ok(tenant)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use formledger_domain::TenantCommand;
    use formledger_store::{ExecuteOptions, Expectation, Store, StoreSettings};

    use super::*;

    #[tokio::test]
    async fn without_the_ledger_no_credential_is_good_and_what_is_audited_stays_as_it_was() {
        let data = tempfile::tempdir().expect("a directory");
        let store = Store::open_sqlite(&data.path().join("ledger.db"), StoreSettings::default())
            .await
            .expect("opens");
        let tenant: TenantId = "acme".parse().expect("a slug");
        let context = TenantContext::system(tenant.clone(), "test", Utc::now());
        let ledger = store.ledger(&context);
        let options = ExecuteOptions {
            expectation: Expectation::NoStream,
            idempotency: None,
            topic: None,
            basis: None,
            outcome: &|_, _| (),
        };
        let stream = context.stream::<Tenant>(&tenant);
        let command = TenantCommand::Register { tenant: tenant.clone() };
        ledger.execute::<Tenant, _>(&stream, command, &(), options).await.expect("registers");
        let states = TenantStates::new();
        states.of(&ledger, &context).await.expect("known now");
        store.close().await;
        let long_ago = Instant::now().checked_sub(2 * LATELY).expect("the machine runs for longer");
        let known = states.known.get(&tenant).expect("remembered");
        states.known.insert(tenant.clone(), Known { loaded: long_ago, asked: long_ago, ..known });
        assert!(states.lately(&ledger, &context).await.expect("as it was").is_registered());
        assert!(states.of(&ledger, &context).await.is_err());
        let known = states.known.get(&tenant).expect("remembered");
        assert!(known.asked.elapsed() < LATELY && !known.is_fresh());
    }
}
