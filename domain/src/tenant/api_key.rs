//! An API key as the ledger knows it: what a program may do that holds it, and the hash of its secret. The secret itself is never here.
//! Made by the API, which has the randomness; checked when it is created, compared when it is used.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::context::role_scope;
use crate::ids::FormId;

/// The longest name of a key, in bytes.
pub const API_KEY_NAME_BYTES_MAX: usize = 200;
/// Roles of a key; at least one.
pub const API_KEY_ROLES_MAX: usize = 32;
/// The longest role, in bytes.
pub const ROLE_BYTES_MAX: usize = 64;
/// Forms to which a key may be limited.
pub const API_KEY_FORMS_MAX: usize = 100;

/// A role that reaches across tenants, which nothing inside of one can grant.
const ACROSS_TENANTS: &str = "operator";

/// A credential for a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// What people call it.
    pub name: Arc<str>,
    /// What it may do.
    pub roles: Arc<[String]>,
    /// The forms it is limited to; all of the tenant when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forms: Option<Arc<[FormId]>>,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// What its secret hashes to.
    pub secret_sha256: SecretHash,
}

impl ApiKey {
    /// Whether it has not expired.
    pub fn is_good_at(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// What stands in the way of making it, in words for the one who asks.
    pub(super) fn check(&self, now: DateTime<Utc>) -> Result<(), String> {
        if !is_label(&self.name, API_KEY_NAME_BYTES_MAX) {
            return Err(format!("`name` has 1 to {API_KEY_NAME_BYTES_MAX} bytes and no control characters"));
        }
        if !(1..=API_KEY_ROLES_MAX).contains(&self.roles.len())
            || !self.roles.iter().all(|role| is_role(role))
        {
            return Err(format!(
                "`roles` has 1 to {API_KEY_ROLES_MAX} roles of at most {ROLE_BYTES_MAX} bytes each, with `@` and a form's id behind it where \
                 one is limited to that form"
            ));
        }
        if self.roles.iter().any(|role| role_scope(role).map_or(&**role, |(name, _)| name) == ACROSS_TENANTS)
        {
            return Err(format!(
                "an API key belongs to one tenant and cannot hold the role `{ACROSS_TENANTS}`"
            ));
        }
        let forms = self.forms.as_ref().map_or(1, |forms| forms.len());
        if !(1..=API_KEY_FORMS_MAX).contains(&forms) {
            return Err(format!(
                "`forms` names 1 to {API_KEY_FORMS_MAX} forms; leave it out for a key to all of them"
            ));
        }
        if !self.is_good_at(now) {
            return Err("`expires_at` is over already".to_owned());
        }
        Ok(())
    }
}

/// A role, alone or for one form.
fn is_role(role: &str) -> bool {
    match role_scope(role) {
        None => is_label(role, ROLE_BYTES_MAX),
        Some((name, form)) => is_label(name, ROLE_BYTES_MAX) && form.parse::<FormId>().is_ok(),
    }
}

fn is_label(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// SHA-256 of a secret. One hash is enough, because the secret is random: there is nothing to guess that salt or slowness would protect.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash, as computed.
    pub fn new(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

/// In constant time, so that how long it takes tells nothing of the stored hash.
impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> Self {
        hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for SecretHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for SecretHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut hash = [0; 32];
        let digits: Option<Vec<u8>> =
            text.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
        match digits {
            Some(digits) if digits.len() == 64 => {
                for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
                    *byte = pair[0] << 4 | pair[1];
                }
                Ok(Self(hash))
            }
            _ => Err("a SHA-256 hash is 64 hexadecimal digits"),
        }
    }
}
