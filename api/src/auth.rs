//! Who is asking: the only place that turns a credential into a tenant context.
//! Called by `call` for every request that touches a tenant; what a role may do is said by the handlers, with [`Caller::require`].

mod keys;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use formledger_domain::{Actor, TenantContext, TenantId};
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

pub use keys::{Keys, mint};

use crate::bounded::BoundedMap;
use crate::error::ApiError;
use crate::head::Head;
use crate::limits::{TOKEN_CLOCK_LEEWAY, VERIFIED_TOKENS_MAX};

/// Roles that the product knows; tenants may use others in workflows.
pub mod role {
    /// Everything in the tenant.
    pub const ADMIN: &str = "admin";
    /// Forms and rules.
    pub const DESIGNER: &str = "designer";
    /// Submits, and sees what it submitted.
    pub const SUBMITTER: &str = "submitter";
    /// Decides, and reads everything of the tenant.
    pub const REVIEWER: &str = "reviewer";
    /// Reads everything of the tenant, writes nothing.
    pub const AUDITOR: &str = "auditor";
    /// Makes tenants.
    pub const OPERATOR: &str = "operator";
    /// The roles that read everything of their tenant.
    pub const READERS: &[&str] = &[ADMIN, DESIGNER, REVIEWER, AUDITOR];
}

/// A credential that was found good.
#[derive(Debug, Clone)]
struct Verified {
    tenant: TenantId,
    actor: Actor,
    expires: DateTime<Utc>,
}

/// Who is asking, for which tenant, until when.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The door to the tenant's ledger.
    pub context: TenantContext,
    /// When the credential ends; a feed ends with it.
    pub expires: DateTime<Utc>,
}

impl Caller {
    /// Whether the caller holds one of `roles`.
    pub fn has_any(&self, roles: &[&str]) -> bool {
        roles.iter().any(|role| self.context.actor.has_role(role))
    }

    /// Refuses a caller that holds none of `roles`.
    ///
    /// # Errors
    /// 403 that names the roles that would do.
    pub fn require(&self, roles: &[&str]) -> Result<(), ApiError> {
        if self.has_any(roles) {
            return Ok(());
        }
        Err(ApiError::NotPermitted(format!("this takes one of the roles `{}`", roles.join("`, `"))))
    }

    /// The same person at another tenant's door, to open its ledger; operators only.
    ///
    /// # Errors
    /// 403.
    pub fn provisioning(mut self, tenant: TenantId) -> Result<Self, ApiError> {
        self.require(&[role::OPERATOR])?;
        self.context.tenant = tenant;
        Ok(self)
    }
}

/// Checks credentials, and remembers the good ones: a signature costs more than everything else before the ledger.
pub struct Authenticator {
    keys: Keys,
    verified: BoundedMap<[u8; 32], Verified>,
}

impl Authenticator {
    /// Trusts `keys`.
    pub fn new(keys: Keys) -> Self {
        Self { keys, verified: BoundedMap::new(VERIFIED_TOKENS_MAX) }
    }

    /// The caller behind a request.
    ///
    /// # Errors
    /// 401 for a missing, expired or forged credential, without saying which of the last two.
    pub fn authenticate(&self, head: &Head) -> Result<Caller, ApiError> {
        let token = bearer(head)?;
        let now = Utc::now();
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let verified = match self.verified.get(&digest) {
            Some(verified) => verified,
            None => self.verify(token, digest)?,
        };
        if verified.expires <= now {
            return Err(INVALID);
        }
        // A head is authenticated once or by the same token again, so what is there is right.
        let _ = head.tenant.set(verified.tenant.clone());
        let context = TenantContext {
            tenant: verified.tenant,
            actor: verified.actor,
            correlation_id: Arc::clone(&head.correlation_id),
            causation_id: None,
            now,
        };
        Ok(Caller { context, expires: verified.expires })
    }

    fn verify(&self, token: &str, digest: [u8; 32]) -> Result<Verified, ApiError> {
        let claims = self.keys.check(token).ok_or(INVALID)?;
        let verified = Verified {
            tenant: claims.tenant.parse().map_err(|_| INVALID)?,
            actor: Actor { subject: claims.sub.into(), roles: claims.roles.into() },
            expires: expiry(claims.exp),
        };
        self.verified.insert(digest, verified.clone());
        Ok(verified)
    }
}

const INVALID: ApiError = ApiError::Unauthenticated("the token is not valid, or not any more");

fn expiry(exp: u64) -> DateTime<Utc> {
    i64::try_from(exp.saturating_add(TOKEN_CLOCK_LEEWAY.as_secs()))
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn bearer(head: &Head) -> Result<&str, ApiError> {
    let missing = ApiError::Unauthenticated("send a token as `Authorization: Bearer <JWT>`");
    let Some(field) = head.text(&AUTHORIZATION)? else { return Err(missing) };
    match field.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(missing),
    }
}
