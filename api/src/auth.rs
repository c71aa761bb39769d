//! Who is asking: the only place that turns a credential into a tenant context.
//! Called by `call` for every request that touches a tenant; what a role may do is said in `router`, and checked with [`Caller::require`].

mod keys;
mod refusal;
mod secret;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use formledger_domain::{Actor, ApiKey, ApiKeyId, FormId, TenantContext, TenantId, role_scope};
use http::header::{AUTHORIZATION, HeaderName};
use sha2::{Digest, Sha256};

pub use keys::mint;
pub use refusal::TokenRefusal;
use secret::SentKey;
pub use secret::make as make_api_key;
pub use trust::follow as follow_keys;
use trust::{Trust, Trusted};

use crate::app::Api;
use crate::config::{AuthSettings, ConfigError};
use crate::error::ApiError;
use crate::head::Head;
use crate::limits::TOKEN_CLOCK_LEEWAY;

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
    authenticated_at: Option<DateTime<Utc>>,
    expires: DateTime<Utc>,
}

/// The field in which a program sends its key.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Who is asking, for which tenant, until when.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The door to the tenant's ledger.
    pub context: TenantContext,
    /// When the credential ends; a feed ends with it.
    pub expires: DateTime<Utc>,
    /// When the person showed their credentials, as far as the token tells; `None` for API keys.
    pub authenticated_at: Option<DateTime<Utc>>,
    /// The key, where the credential is one.
    pub api_key: Option<ApiKeyId>,
    /// The forms that the credential is limited to; all of the tenant when `None`.
    pub forms: Option<Arc<[FormId]>>,
    /// The roles as the credential grants them, also where `context` speaks for one form.
    granted: Arc<[String]>,
}

impl Caller {
    /// Whether the caller holds one of `roles`.
    pub fn has_any(&self, roles: &[&str]) -> bool {
        roles.iter().any(|role| self.context.actor.has_role(role))
    }

    /// The same caller where something of `form` is in question: with the roles that it holds there.
    pub fn on(mut self, form: &FormId) -> Self {
        self.context.actor = self.context.actor.on(form);
        self
    }

    /// Whether the caller holds one of `roles` for `form`.
    pub fn has_any_on(&self, form: &FormId, roles: &[&str]) -> bool {
        let actor = self.context.actor.on(form);
        roles.iter().any(|role| actor.has_role(role))
    }

    /// Whether the credential grants a role for one form.
    pub fn has_roles_for_forms(&self) -> bool {
        self.granted.iter().any(|role| role_scope(role).is_some())
    }

    /// Whether the caller holds one of `roles` for all of the tenant, whatever form is in question.
    pub fn has_any_everywhere(&self, roles: &[&str]) -> bool {
        self.granted.iter().any(|role| roles.contains(&role.as_str()))
    }

    /// Refuses a caller that holds none of `roles` for `form`.
    ///
    /// # Errors
    /// As [`Caller::require`].
    pub fn require_on(&self, form: &FormId, roles: &[&str]) -> Result<(), ApiError> {
        if self.has_any_on(form, roles) { Ok(()) } else { Err(missing(roles)) }
    }

    /// Refuses a caller that holds none of `roles` for any form.
    ///
    /// # Errors
    /// As [`Caller::require`].
    pub fn require_somewhere(&self, roles: &[&str]) -> Result<(), ApiError> {
        let name = |role: &str| role_scope(role).map_or(role, |(name, _)| name).to_owned();
        let held = self.granted.iter().any(|role| roles.contains(&&*name(role)));
        if held { Ok(()) } else { Err(missing(roles)) }
    }

    /// Refuses a caller that holds none of `roles`.
    ///
    /// # Errors
    /// 403 that names the roles that would do.
    pub fn require(&self, roles: &[&str]) -> Result<(), ApiError> {
        if self.has_any(roles) { Ok(()) } else { Err(missing(roles)) }
    }

    /// How long the credential lasts from now on.
    pub fn lasts(&self) -> Duration {
        (self.expires - Utc::now()).to_std().unwrap_or_default()
    }

    /// Whether the credential reaches a form and its submissions.
    pub fn reaches(&self, form: &str) -> bool {
        self.forms.as_ref().is_none_or(|forms| forms.iter().any(|reached| reached.as_str() == form))
    }

    /// Why a credential that is limited to some forms does not reach something.
    pub fn out_of_reach(&self) -> ApiError {
        let forms: Vec<&str> = self.forms.iter().flat_map(|forms| forms.iter()).map(FormId::as_str).collect();
        let forms = forms.join("`, `");
        ApiError::NotPermitted(format!("this API key reaches the forms `{forms}` and their submissions only"))
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

fn missing(roles: &[&str]) -> ApiError {
    ApiError::NotPermitted(format!("this takes one of the roles `{}`", roles.join("`, `")))
}

/// Checks credentials, and remembers the good ones: a signature costs more than everything else before the ledger.
pub struct Authenticator {
    trust: Trust,
}

impl Authenticator {
    /// Trusts the keys that the settings name.
    ///
    /// # Errors
    /// When they name none, or a key set that cannot be read.
    pub fn new(settings: &AuthSettings) -> Result<Self, ConfigError> {
        Ok(Self { trust: Trust::new(settings)? })
    }

    /// Reads the file of the key set again, and says in the log what came of it, also where it is the same as before.
    pub async fn read_keys_again(&self) {
        self.trust.read_again(true).await;
    }

    /// The caller behind a request.
    ///
    /// # Errors
    /// 401 for a missing, expired, revoked or forged credential: of a token with the reason, of an API key without; 400 for two of them;
    /// and what keeps a key from being looked up.
    pub async fn authenticate(&self, api: &Api, head: &Head) -> Result<Caller, ApiError> {
        let caller = match (head.text(&AUTHORIZATION)?, head.text(&X_API_KEY)?) {
            (Some(field), None) => self.by_token(head, bearer(field)?)?,
            (None, Some(key)) => by_api_key(api, head, key).await?,
            (None, None) => return Err(MISSING),
            (Some(_), Some(_)) => {
                return Err(ApiError::Malformed {
                    code: "credential-ambiguous",
                    detail:
                        "send `Authorization` or `X-Api-Key`, not both: they may speak for different people"
                            .to_owned(),
                });
            }
        };
        // A head is authenticated once or by the same credential again, so what is there is right.
        head.known.get_or_init(|| caller.context.clone());
        Ok(caller)
    }

    fn by_token(&self, head: &Head, token: &str) -> Result<Caller, ApiError> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let trusted = self.trust.now();
        let verified = match trusted.verified.get(&digest) {
            Some(verified) => verified,
            None => verify(&trusted, token, digest)?,
        };
        let Verified { tenant, actor, authenticated_at, expires } = verified;
        let context = context(head, tenant, actor);
        if expires <= context.now {
            return Err(TokenRefusal::Expired(Some(expires - TOKEN_CLOCK_LEEWAY)).into());
        }
        let granted = Arc::clone(&context.actor.roles);
        Ok(Caller { context, expires, authenticated_at, api_key: None, forms: None, granted })
    }
}

fn verify(trusted: &Trusted, token: &str, digest: [u8; 32]) -> Result<Verified, ApiError> {
    let claims = trusted.keys.check(token)?;
    let verified = Verified {
        tenant: claims.tenant.parse().map_err(|_| NO_TENANT)?,
        actor: Actor { subject: claims.sub.into(), roles: claims.roles.into() },
        // A token that was renewed without asking the person says when they were asked; one that does not was made when they were.
        authenticated_at: claims.auth_time.or(claims.iat).and_then(moment),
        expires: expiry(claims.exp),
    };
    trusted.verified.insert(digest, verified.clone());
    Ok(verified)
}

const MISSING: ApiError =
    ApiError::Unauthenticated("send a token as `Authorization: Bearer <JWT>`, or an API key as `X-Api-Key`");
const NO_TENANT: TokenRefusal = TokenRefusal::Claim {
    claim: "tenant",
    right: "is a tenant's name: 1 to 63 of `a-z`, `0-9` and `-`, starting with a letter or digit",
};
const INVALID_KEY: ApiError = ApiError::Unauthenticated("the API key is not valid, or not any more");

/// The program behind a key. Its secret costs one hash, so nothing is remembered but the tenant's keys.
async fn by_api_key(api: &Api, head: &Head, key: &str) -> Result<Caller, ApiError> {
    let sent = SentKey::read(key).ok_or(INVALID_KEY)?;
    let subject = Actor::key_subject(sent.id);
    let mut context = context(head, sent.tenant, Actor { subject, roles: Arc::default() });
    let tenant = api.tenant_states.of(&api.store.ledger(&context), &context).await?;
    let good = |key: &&ApiKey| key.secret_sha256 == sent.secret_sha256 && key.is_good_at(context.now);
    let key = tenant.api_key(sent.id).filter(good).ok_or(INVALID_KEY)?;
    context.actor.roles = Arc::clone(&key.roles);
    Ok(Caller {
        context,
        expires: key.expires_at.unwrap_or(DateTime::<Utc>::MAX_UTC),
        authenticated_at: None,
        api_key: Some(sent.id),
        forms: key.forms.clone(),
        granted: Arc::clone(&key.roles),
    })
}

fn context(head: &Head, tenant: TenantId, actor: Actor) -> TenantContext {
    let correlation_id = Arc::clone(&head.correlation_id);
    let causation_id = Some(Arc::clone(&head.request_id));
    TenantContext { tenant, actor, correlation_id, causation_id, now: Utc::now() }
}

fn expiry(exp: u64) -> DateTime<Utc> {
    moment(exp.saturating_add(TOKEN_CLOCK_LEEWAY.as_secs())).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// A time in seconds since the epoch; `None` beyond the calendar.
fn moment(seconds: u64) -> Option<DateTime<Utc>> {
    i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0))
}

fn bearer(field: &str) -> Result<&str, ApiError> {
    match field.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(MISSING),
    }
}
