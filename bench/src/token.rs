//! Tokens for Formledger, minted here because thousands of tenants would be thousands of runs of `formledger token`.
//!
//! Called by `contestant`. The claims are the public contract's: `tenant`, `sub`, `roles`, `exp`.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;

/// Longer than any run.
const VALID_FOR: Duration = Duration::from_secs(12 * 3_600);
const SUBJECT: &str = "bench";
const ROLES: [&str; 4] = ["admin", "designer", "submitter", "reviewer"];

#[derive(Serialize)]
struct Claims<'a> {
    tenant: &'a str,
    sub: &'a str,
    roles: [&'a str; 4],
    exp: u64,
}

/// A token (HS256) with which one may publish forms, submit and review in `tenant`.
///
/// # Errors
/// The clock stands before 1970.
pub fn mint(secret: &str, tenant: &str) -> Result<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock")?;
    let claims = Claims { tenant, sub: SUBJECT, roles: ROLES, exp: (now + VALID_FOR).as_secs() };
    encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes()))
        .context("signing a token")
}
