//! The tenant: the owner of one ledger. Its stream opens the ledger and says since when the tenant exists.
//! Called through `store` on the first command of a tenant's admin, or by an operator.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::aggregate::{EncodedEvent, LedgerAggregate, UndecodableEvent};
use crate::ids::TenantId;
use crate::json::CanonicalJson;
use crate::payload::{self, PayloadWriter, StoredName};

/// A tenant, folded from its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    id: Option<TenantId>,
}

impl Tenant {
    /// Whether the tenant has been registered.
    pub fn is_registered(&self) -> bool {
        self.id.is_some()
    }
}

/// What may be asked of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantCommand {
    /// Opens the ledger.
    Register {
        /// The slug; it is also the stream's id.
        tenant: TenantId,
    },
}

/// What happened to a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantEvent {
    /// The ledger was opened.
    Registered {
        /// The owner.
        tenant: TenantId,
    },
}

/// Why a tenant's command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// It exists.
    #[error("tenant `{0}` is registered already")]
    AlreadyRegistered(TenantId),
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
        let TenantCommand::Register { tenant } = command;
        if let Some(id) = &self.id {
            return Err(TenantError::AlreadyRegistered(id.clone()));
        }
        sink.write(TenantEvent::Registered { tenant }, self).await;
        Ok(())
    }

    fn apply(&mut self, event: TenantEvent) {
        let TenantEvent::Registered { tenant } = event;
        self.id = Some(tenant);
    }
}

impl TenantEvent {
    pub(crate) fn stored_name(&self) -> StoredName {
        let TenantEvent::Registered { .. } = self;
        StoredName { event_type: "formledger.tenant.registered", event_version: "1" }
    }

    fn payload(&self) -> CanonicalJson {
        let TenantEvent::Registered { tenant } = self;
        PayloadWriter::new(0).text("kind", "registered").text("tenant", tenant.as_str()).finish()
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
        EncodedEvent { event_type, event_version, payload: event.payload() }
    }

    fn decode(
        event_type: &str,
        event_version: &str,
        payload: &CanonicalJson,
    ) -> Result<TenantEvent, UndecodableEvent> {
        payload::decode(event_type, event_version, payload, TenantEvent::stored_name, |text| {
            serde_json::from_str(text).map_err(|error| error.to_string())
        })
    }
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Stored {
    Registered { tenant: TenantId },
}

impl Serialize for TenantEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.payload().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TenantEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Stored::deserialize(deserializer).map(|Stored::Registered { tenant }| Self::Registered { tenant })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cqrs_es::test::TestFramework;

    fn acme() -> TenantId {
        "acme".parse().expect("a slug")
    }

    #[test]
    fn the_first_registration_opens_the_ledger() {
        TestFramework::<Tenant>::with(())
            .given_no_previous_events()
            .when(TenantCommand::Register { tenant: acme() })
            .then_expect_events(vec![TenantEvent::Registered { tenant: acme() }]);
    }

    #[test]
    fn a_tenant_is_registered_once() {
        TestFramework::<Tenant>::with(())
            .given(vec![TenantEvent::Registered { tenant: acme() }])
            .when(TenantCommand::Register { tenant: acme() })
            .then_expect_error(TenantError::AlreadyRegistered(acme()));
    }
}
