//! Tenants: which exist, and how they begin: with the first command of their `admin` that is accepted, or with `POST /v1/tenants`.
//! Called before every command and query; existence is a fact of the ledger, remembered because within an era of the ledgers it never ends.

use formledger_domain::{Tenant, TenantCommand, TenantContext, TenantId};
use formledger_store::{AppendError, ExecuteError, ExecuteOptions, Expectation, Store, TenantLedger};
use serde::Deserialize;
use serde_json::json;
use warp::reply::Response;

use crate::auth::{Caller, role};
use crate::bounded::BoundedMap;
use crate::call::{Call, Sent};
use crate::command::CommandCall;
use crate::error::ApiError;
use crate::limits::KNOWN_TENANTS_MAX;
use crate::members::required_members;
use crate::openapi::answers;
use crate::outcome::Outcome;
use crate::params::Params;

/// Knows which tenants exist.
pub struct Tenants {
    /// With the era in which that was seen.
    known: BoundedMap<TenantId, u64>,
    provisioned: bool,
}

/// A door that somebody may go through with a command.
pub struct Entered {
    /// The ledger.
    pub ledger: TenantLedger,
    /// Whether there is none yet, and the command is to be its first.
    pub begins: bool,
}

impl Tenants {
    /// Knows none yet. `provisioned`: only an operator makes tenants.
    pub fn new(provisioned: bool) -> Self {
        Self { known: BoundedMap::new(KNOWN_TENANTS_MAX), provisioned }
    }

    /// The ledger of a tenant that exists.
    ///
    /// # Errors
    /// 404 when it does not.
    pub async fn require(&self, store: &Store, caller: &Caller) -> Result<TenantLedger, ApiError> {
        let ledger = store.ledger(&caller.context);
        if self.exists(&ledger, &caller.context.tenant).await? {
            return Ok(ledger);
        }
        Err(self.unknown())
    }

    /// The ledger of a tenant that exists, or may begin with this command of its `admin`: whoever lets it take effect calls
    /// [`Tenants::begin`] first. Nothing is recorded yet, as the command may still be refused.
    ///
    /// # Errors
    /// 404 when it does not exist and this caller cannot begin it.
    pub async fn enter(&self, store: &Store, caller: &Caller) -> Result<Entered, ApiError> {
        let ledger = store.ledger(&caller.context);
        let begins = !self.exists(&ledger, &caller.context.tenant).await?;
        if begins && (self.provisioned || !caller.has_any_everywhere(&[role::ADMIN])) {
            return Err(self.unknown());
        }
        Ok(Entered { ledger, begins })
    }

    /// Opens the ledger of a tenant that may begin.
    ///
    /// # Errors
    /// When that cannot be recorded.
    pub async fn begin(&self, ledger: &TenantLedger, context: &TenantContext) -> Result<(), ApiError> {
        let era = ledger.era();
        register(ledger, context).await?;
        self.known.insert(context.tenant.clone(), era);
        Ok(())
    }

    fn unknown(&self) -> ApiError {
        ApiError::TenantUnknown { provisioned: self.provisioned }
    }

    async fn exists(&self, ledger: &TenantLedger, tenant: &TenantId) -> Result<bool, ApiError> {
        let era = ledger.era();
        if self.known.get(tenant) == Some(era) {
            return Ok(true);
        }
        let exists = ledger.head().await?.position.0 > 0;
        if exists {
            self.known.insert(tenant.clone(), era);
        }
        Ok(exists)
    }
}

/// Opens the tenant's ledger; that another request was faster is as good.
async fn register(ledger: &TenantLedger, context: &TenantContext) -> Result<(), ApiError> {
    let tenant = context.tenant.clone();
    let stream = context.stream::<Tenant>(&tenant);
    let options = ExecuteOptions {
        expectation: Expectation::NoStream,
        idempotency: None,
        topic: None,
        basis: None,
        outcome: &|_, _| (),
    };
    match ledger.execute::<Tenant, _>(&stream, TenantCommand::Register { tenant }, &(), options).await {
        Ok(_) | Err(ExecuteError::Append(AppendError::Conflict { .. }) | ExecuteError::Refused(_)) => Ok(()),
        Err(ExecuteError::Append(error)) => Err(error.into()),
    }
}

/// The body of `POST /v1/tenants`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// The slug.
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    #[schema(value_type = String)]
    tenant: TenantId,
}

/// Makes a tenant; for operators, whatever tenant their own credential is for.
#[utoipa::path(post, path = "/v1/tenants", operation_id = "createTenant", tag = "tenants", security(("bearer" = []), ("api-key" = [])),
    request_body = NewTenant,
    responses(
        (status = 201, body = answers::TenantMade, description = "The tenant exists now."),
        (status = 403, description = "Takes the role `operator`."),
        (status = 409, description = "`tenant-exists`."),
    ))]
pub async fn create(call: Call) -> Result<Response, ApiError> {
    let Sent { api, head, caller, body } = call.json_body().await?;
    Params::none(&head)?;
    let NewTenant { tenant } = required_members(&body)?;
    let caller = caller.provisioning(tenant.clone())?;
    let ledger = api.store.ledger(&caller.context);
    let call = CommandCall::for_ledger(api, &head, caller, body, ledger)?;
    let command = TenantCommand::Register { tenant: tenant.clone() };
    call.execute::<Tenant>(&tenant, command, None, |_, _| Outcome::recorded(&json!({"tenant": tenant}))).await
}
