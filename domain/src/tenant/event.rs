//! What happened to a tenant, and how it is stored. The event is the contract: a stored shape never changes, it gets a new version.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use super::Tenant;
use super::api_key::ApiKey;
use crate::aggregate::{EncodedEvent, LedgerAggregate, UndecodableEvent};
use crate::audit::AuditSettings;
use crate::ids::{ApiKeyId, TenantId};
use crate::json::CanonicalJson;
use crate::payload::{self, StoredName};

/// What happened to a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TenantEvent {
    /// `formledger.tenant.registered`: the ledger was opened.
    Registered {
        /// The owner.
        tenant: TenantId,
    },
    /// `formledger.tenant.api-key-created`: a program may use the API from now on.
    ApiKeyCreated {
        /// Its id.
        id: ApiKeyId,
        /// What it may do, and the hash of its secret.
        key: ApiKey,
        /// The key that made it, with which it ends; `None` for one that a person made, and for those made before events said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        made_by: Option<ApiKeyId>,
    },
    /// `formledger.tenant.api-key-revoked`: it may not any more.
    ApiKeyRevoked {
        /// Which key.
        id: ApiKeyId,
    },
    /// `formledger.tenant.audit-configured`: this is audited from now on, and nothing else.
    AuditConfigured {
        /// What.
        settings: AuditSettings,
    },
}

impl TenantEvent {
    pub(crate) fn stored_name(&self) -> StoredName {
        let event_type = match self {
            Self::Registered { .. } => "formledger.tenant.registered",
            Self::ApiKeyCreated { .. } => "formledger.tenant.api-key-created",
            Self::ApiKeyRevoked { .. } => "formledger.tenant.api-key-revoked",
            Self::AuditConfigured { .. } => "formledger.tenant.audit-configured",
        };
        StoredName { event_type, event_version: "1" }
    }
}

impl DomainEvent for TenantEvent {
    fn event_type(&self) -> String {
        self.stored_name().event_type.to_owned()
    }

    fn event_version(&self) -> String {
        self.stored_name().event_version.to_owned()
    }
}

impl LedgerAggregate for Tenant {
    fn encode(event: &TenantEvent) -> EncodedEvent {
        let StoredName { event_type, event_version } = event.stored_name();
        let payload = serde_json::to_value(event).expect("the events of a tenant hold texts and times");
        let payload = CanonicalJson::from_value(&payload).expect("no event of a tenant holds a number");
        EncodedEvent { event_type, event_version, payload }
    }

    fn decode(
        event_type: &str,
        event_version: &str,
        payload: &CanonicalJson,
    ) -> Result<TenantEvent, UndecodableEvent> {
        payload::decode(event_type, event_version, payload, TenantEvent::stored_name, |payload| {
            serde_json::from_str(payload.as_str()).map_err(|error| error.to_string())
        })
    }
}
