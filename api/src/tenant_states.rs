//! Tenants as their own streams say they are: API keys, and what is audited. Asked with every use of a key.
//! Filled from the ledger; what this process changes is read again before it is acknowledged, what another one changes within
//! [`POLL_INTERVAL`], so that a revoked key is not good for longer than that anywhere.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cqrs_es::Aggregate;
use formledger_domain::{LedgerAggregate, Tenant, TenantContext, TenantId};
use formledger_store::{POLL_INTERVAL, RecordedEvent, TenantLedger, causes};
use tokio::sync::Mutex;

use crate::bounded::BoundedMap;
use crate::error::ApiError;
use crate::limits::KNOWN_TENANTS_MAX;

/// Loads that may run at once, chosen by tenant: a flood of keys that name tenants at random waits for itself, not for everybody.
const LOADERS: usize = 8;

/// The tenants in use, folded from their streams.
pub struct TenantStates {
    known: BoundedMap<TenantId, Known>,
    loaders: [Mutex<()>; LOADERS],
}

#[derive(Clone)]
struct Known {
    tenant: Arc<Tenant>,
    loaded: Instant,
}

impl TenantStates {
    /// Knows none yet.
    pub fn new() -> Self {
        Self { known: BoundedMap::new(KNOWN_TENANTS_MAX), loaders: Default::default() }
    }

    /// The tenant of `context`, as it was recorded at most [`POLL_INTERVAL`] ago; empty when it does not exist.
    ///
    /// # Errors
    /// When the ledger cannot be read: what is not known to be good is not taken for it.
    pub async fn of(&self, ledger: &TenantLedger, context: &TenantContext) -> Result<Arc<Tenant>, ApiError> {
        self.not_older_than(POLL_INTERVAL, ledger, context).await
    }

    /// The tenant of `context`, as it was recorded at most `age_max` ago, or later; empty when it does not exist.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn not_older_than(
        &self,
        age_max: Duration,
        ledger: &TenantLedger,
        context: &TenantContext,
    ) -> Result<Arc<Tenant>, ApiError> {
        if let Some(fresh) = self.fresh(age_max, &context.tenant) {
            return Ok(fresh);
        }
        let _loading = self.loader(&context.tenant).lock().await;
        match self.fresh(age_max, &context.tenant) {
            Some(fresh) => Ok(fresh),
            None => self.load(ledger, context).await,
        }
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

    fn fresh(&self, age_max: Duration, tenant: &TenantId) -> Option<Arc<Tenant>> {
        let known = self.known.get(tenant)?;
        (known.loaded.elapsed() < age_max).then_some(known.tenant)
    }

    async fn load(&self, ledger: &TenantLedger, context: &TenantContext) -> Result<Arc<Tenant>, ApiError> {
        let loaded = Instant::now();
        let tenant = Arc::new(fold(&ledger.load(&context.stream::<Tenant>(&context.tenant)).await?)?);
        // Of a tenant that does not exist nothing is kept, so that names made up by strangers displace nobody.
        if tenant.is_registered() {
            self.known.insert(context.tenant.clone(), Known { tenant: Arc::clone(&tenant), loaded });
        }
        Ok(tenant)
    }

    fn loader(&self, tenant: &TenantId) -> &Mutex<()> {
        let mut hasher = DefaultHasher::new();
        tenant.hash(&mut hasher);
        &self.loaders[(hasher.finish() % LOADERS as u64) as usize]
    }
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
