//! Who acts, for which tenant, under which correlation, at what time: the first parameter of everything that touches a ledger.
//! Built by the API's authentication (one file), by command line tools and by projectors; a stream cannot be named without one.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;

use crate::ids::{ApiKeyId, FormId, TenantId};

/// The longest subject of a credential, in bytes, so that it fits into every key of every database; credentials with longer ones are
/// refused, and longer names in data name nobody. OpenID Connect Core 1.0 section 2 allows a `sub` 255 characters.
pub const SUBJECT_BYTES_MAX: usize = 256;

/// Someone or something that acts, with the roles that the credential granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The credential's subject.
    pub subject: Arc<str>,
    /// The roles of this tenant that the credential grants.
    pub roles: Arc<[String]>,
}

/// The product's own name in the record.
const SYSTEM: &str = "system";
/// What the names of API keys begin with, before the key's id.
const KEY_PREFIX: &str = "key:";

impl Actor {
    /// The product itself: projectors, timers, command line tools. It holds no role.
    pub fn system() -> Self {
        Self { subject: SYSTEM.into(), roles: Arc::new([]) }
    }

    /// The name in which a program acts that came with the API key `id`.
    pub fn key_subject(id: impl fmt::Display) -> Arc<str> {
        format!("{KEY_PREFIX}{id}").into()
    }

    /// The API key that acts in the name of `subject`; `None` for everybody else.
    pub fn key_of(subject: &str) -> Option<ApiKeyId> {
        subject.strip_prefix(KEY_PREFIX)?.parse().ok()
    }

    /// Whether a subject is not to be had by a token: the record must not say that the product or an API key did what a person did.
    pub fn is_reserved(subject: &str) -> bool {
        subject == SYSTEM || subject.starts_with(KEY_PREFIX)
    }

    /// Whether it is a program: the product itself, or whoever came with an API key.
    pub fn is_program(&self) -> bool {
        Self::is_reserved(&self.subject)
    }

    /// The same person where something of `form` is in question: a role that the credential grants for this form (`reviewer@claim`) is the role
    /// there, and one for another form is none.
    pub fn on(&self, form: &FormId) -> Self {
        if self.roles.iter().all(|role| role_scope(role).is_none()) {
            return self.clone();
        }
        let held = self.roles.iter().filter_map(|role| match role_scope(role) {
            None => Some(role.clone()),
            Some((name, scope)) if scope == form.as_str() => Some(name.to_owned()),
            Some(_) => None,
        });
        Self { subject: Arc::clone(&self.subject), roles: held.collect() }
    }

    /// Whether the credential granted `role` for all of the tenant, or for the form that is in question ([`Actor::on`]).
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held == role)
    }
}

/// A role and the form that it is limited to, as `role@form` says it; `None` for a role without limit. What stands behind the last `@` is the
/// form, whether there is one of that name or not, so that a misspelt one grants nothing.
pub fn role_scope(role: &str) -> Option<(&str, &str)> {
    role.rsplit_once('@')
}

/// One unit of work for exactly one tenant.
///
/// It is the only door to a tenant's streams: a [`StreamId`] comes from [`TenantContext::stream`] and from nowhere else.
#[derive(Debug, Clone)]
pub struct TenantContext {
    /// The tenant whose ledger this work may touch.
    pub tenant: TenantId,
    /// Who acts.
    pub actor: Actor,
    /// Ties together everything that one request caused; the request id when the caller stated none.
    pub correlation_id: Arc<str>,
    /// The event or message that caused this work, where one did.
    pub causation_id: Option<Arc<str>>,
    /// The time at which the work began; decisions see no other clock.
    pub now: DateTime<Utc>,
}

impl TenantContext {
    /// Work of the product itself, as projectors and tools do it.
    pub fn system(tenant: TenantId, correlation_id: impl Into<Arc<str>>, now: DateTime<Utc>) -> Self {
        Self {
            tenant,
            actor: Actor::system(),
            correlation_id: correlation_id.into(),
            causation_id: None,
            now,
        }
    }

    /// Names the stream of aggregate `A` with identifier `id` in this tenant's ledger.
    pub fn stream<A: Aggregate>(&self, id: impl fmt::Display) -> StreamId {
        StreamId { tenant: self.tenant.clone(), aggregate_type: A::TYPE, id: id.to_string().into() }
    }
}

/// One aggregate's stream in one tenant's ledger.
///
/// It cannot be made without a tenant context, so no code path can forget the tenant:
///
/// ```compile_fail,E0451
/// fn forge(tenant: formledger_domain::TenantId) -> formledger_domain::StreamId {
///     formledger_domain::StreamId { tenant, aggregate_type: "Form", id: "expense".into() }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamId {
    tenant: TenantId,
    aggregate_type: &'static str,
    id: Arc<str>,
}

impl StreamId {
    /// The tenant whose ledger holds the stream.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// `Aggregate::TYPE` of the stream's aggregate.
    pub fn aggregate_type(&self) -> &'static str {
        self.aggregate_type
    }

    /// The aggregate's own identifier, without the tenant.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// As [`StreamId::id`], to keep.
    pub fn shared_id(&self) -> Arc<str> {
        self.id.clone()
    }

    /// The value of the `aggregate_id` column, `<tenant>/<id>`; built here and nowhere else.
    pub fn aggregate_id(&self) -> String {
        format!("{}/{}", self.tenant, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_for_a_form_is_the_role_there_and_none_elsewhere() {
        let roles = ["auditor", "reviewer@claim", "admin@permit", "a@b@claim", "clerk@"].map(str::to_owned);
        let actor = Actor { subject: "rita".into(), roles: Arc::new(roles) };
        let on = |form: &str| actor.on(&form.parse().expect("an id"));
        assert_eq!(*on("claim").roles, ["auditor", "reviewer", "a@b"]);
        assert_eq!(*on("permit").roles, ["auditor", "admin"]);
        assert_eq!(*on("claims").roles, ["auditor"], "a name that begins alike is another name");
        assert_eq!(on("claim").on(&"claim".parse().expect("an id")).roles[..2], ["auditor", "reviewer"]);
        assert!(!actor.has_role("reviewer") && !actor.has_role("admin"), "nowhere in particular");
    }
}
