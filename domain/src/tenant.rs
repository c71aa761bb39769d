//! The tenant: the owner of one ledger. Its stream opens the ledger, and holds the tenant's API keys and what it wants audited.
//! Called through `store` on the first command of a tenant's admin, by an operator, and by the API's resources of the same names.

mod api_key;
mod event;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use api_key::{API_KEY_FORMS_MAX, API_KEY_ROLES_MAX, ApiKey, SecretHash};
pub use event::TenantEvent;

use crate::audit::AuditSettings;
use crate::ids::{ApiKeyId, TenantId};

/// Keys of a tenant that may be good at the same time; the next one is refused until one is revoked or expires.
pub const API_KEYS_MAX: usize = 1_000;

/// The key that made a key, of all that keys made.
pub type Makers = BTreeMap<ApiKeyId, ApiKeyId>;

/// A tenant, folded from its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    id: Option<TenantId>,
    /// Keys that were not revoked, expired or not.
    api_keys: BTreeMap<ApiKeyId, ApiKey>,
    revoked_api_keys: Vec<ApiKeyId>,
    /// Which key made a key, also of those that are over, as far as the events say.
    makers: Makers,
    audit: AuditSettings,
}

/// What may be asked of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantCommand {
    /// Opens the ledger.
    Register {
        /// The slug; it is also the stream's id.
        tenant: TenantId,
    },
    /// Makes a credential for a program.
    CreateApiKey {
        /// Its id, new.
        id: ApiKeyId,
        /// What it may do, and the hash of its secret.
        key: ApiKey,
        /// The key that asks for it, where one does.
        made_by: Option<ApiKeyId>,
        /// When it is asked.
        now: DateTime<Utc>,
    },
    /// Ends a key for ever, and with it the keys that it made, and theirs; what was revoked before stays so.
    RevokeApiKey {
        /// Which.
        id: ApiKeyId,
        /// What only the metadata of events say of who made which, because they are older than `made_by`.
        makers: Makers,
        /// When it is asked.
        now: DateTime<Utc>,
    },
    /// Says what is audited from now on.
    ConfigureAudit {
        /// What.
        settings: AuditSettings,
    },
}

/// Why a tenant's command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// It exists.
    #[error("tenant `{0}` is registered already")]
    AlreadyRegistered(TenantId),
    /// The key cannot be made as asked; the text says what would be right.
    #[error("{0}")]
    ApiKeyInvalid(String),
    /// There are too many good keys.
    #[error("the tenant has {API_KEYS_MAX} API keys already; revoke one that is not needed any more")]
    TooManyApiKeys,
    /// There is no such key.
    #[error("there is no such API key")]
    ApiKeyMissing,
    /// The key that asks was revoked or expired since it was let in; what it made now would outlive it.
    #[error("the API key is not valid, or not any more")]
    MakerEnded,
}

impl Tenant {
    /// Whether the tenant has been registered.
    pub fn is_registered(&self) -> bool {
        self.id.is_some()
    }

    /// A key that was made and not revoked; it may have expired.
    pub fn api_key(&self, id: ApiKeyId) -> Option<&ApiKey> {
        self.api_keys.get(&id)
    }

    /// What is audited.
    pub fn audit_settings(&self) -> AuditSettings {
        self.audit
    }

    /// The events that follow from `command`; none when it changes nothing.
    ///
    /// # Errors
    /// The reason for the refusal; nothing is recorded then.
    pub fn decide(&self, command: TenantCommand) -> Result<Vec<TenantEvent>, TenantError> {
        match command {
            TenantCommand::Register { tenant } => match &self.id {
                Some(id) => Err(TenantError::AlreadyRegistered(id.clone())),
                None => Ok(vec![TenantEvent::Registered { tenant }]),
            },
            TenantCommand::CreateApiKey { id, key, made_by, now } => {
                let is_good = |maker| self.api_key(maker).is_some_and(|maker| maker.is_good_at(now));
                if !made_by.is_none_or(is_good) {
                    return Err(TenantError::MakerEnded);
                }
                key.check(now).map_err(TenantError::ApiKeyInvalid)?;
                let good = self.api_keys.values().filter(|key| key.is_good_at(now)).count();
                if good >= API_KEYS_MAX {
                    return Err(TenantError::TooManyApiKeys);
                }
                Ok(vec![TenantEvent::ApiKeyCreated { id, key, made_by }])
            }
            TenantCommand::RevokeApiKey { id, makers, now } => {
                if !self.api_keys.contains_key(&id) && !self.revoked_api_keys.contains(&id) {
                    return Err(TenantError::ApiKeyMissing);
                }
                let ends = |&other: &ApiKeyId| {
                    self.api_key(other).is_some_and(|key| other == id || key.is_good_at(now))
                };
                let ending = self.lineage(id, &makers).into_iter().filter(ends);
                Ok(ending.map(|id| TenantEvent::ApiKeyRevoked { id }).collect())
            }
            TenantCommand::ConfigureAudit { settings } if settings == self.audit => Ok(Vec::new()),
            TenantCommand::ConfigureAudit { settings } => Ok(vec![TenantEvent::AuditConfigured { settings }]),
        }
    }

    /// A key, and all keys that came from it, whoever of them is over.
    fn lineage(&self, id: ApiKeyId, more: &Makers) -> BTreeSet<ApiKeyId> {
        let mut made: BTreeMap<ApiKeyId, Vec<ApiKeyId>> = BTreeMap::new();
        for (key, maker) in self.makers.iter().chain(more) {
            made.entry(*maker).or_default().push(*key);
        }
        let (mut lineage, mut next) = (BTreeSet::new(), vec![id]);
        while let Some(key) = next.pop() {
            if lineage.insert(key) {
                next.extend(made.remove(&key).unwrap_or_default());
            }
        }
        lineage
    }
}

impl Aggregate for Tenant {
    const TYPE: &'static str = "Tenant";
    type Command = TenantCommand;
    type Event = TenantEvent;
    type Error = TenantError;
    type Services = ();

    async fn handle(
        &mut self,
        command: TenantCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), TenantError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: TenantEvent) {
        match event {
            TenantEvent::Registered { tenant } => self.id = Some(tenant),
            TenantEvent::ApiKeyCreated { id, key, made_by } => {
                self.api_keys.insert(id, key);
                self.makers.extend(made_by.map(|maker| (id, maker)));
            }
            TenantEvent::ApiKeyRevoked { id } => {
                self.api_keys.remove(&id);
                self.revoked_api_keys.push(id);
            }
            TenantEvent::AuditConfigured { settings } => self.audit = settings,
        }
    }
}
