//! API keys as clients send them: `flk_<tenant>_<key id>_<secret>`. Made once by `api_keys`, read by `auth`; never logged, never stored.
//! The tenant and the id stand in the open, so that a key is found without looking through any other.

use formledger_domain::{ApiKeyId, SecretHash, TenantId};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::ApiError;
use crate::hex;

/// What every key begins with, so that scanners of source code find lost ones.
const PREFIX: &str = "flk";
/// Bytes of randomness in a secret.
const SECRET_BYTES: usize = 32;

/// What a client sent as its key.
#[derive(Debug, PartialEq, Eq)]
pub struct SentKey {
    /// The tenant that it names.
    pub tenant: TenantId,
    /// The key that it names.
    pub id: ApiKeyId,
    /// What the secret in it hashes to.
    pub secret_sha256: SecretHash,
}

impl SentKey {
    /// Takes a key apart; `None` when it is none.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('_');
        let (prefix, tenant, id, secret) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if prefix != PREFIX || parts.next().is_some() {
            return None;
        }
        let id = ApiKeyId(Uuid::try_parse(id).ok()?);
        Some(Self { tenant: tenant.parse().ok()?, id, secret_sha256: hash(secret) })
    }
}

/// A new key's text, which is shown once, and the hash that is kept.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn make(tenant: &TenantId, id: ApiKeyId) -> Result<(String, SecretHash), ApiError> {
    let mut random = [0; SECRET_BYTES];
    getrandom::fill(&mut random).map_err(ApiError::internal)?;
    let secret = hex::encode(&random);
    Ok((format!("{PREFIX}_{tenant}_{}_{secret}", id.0.simple()), hash(&secret)))
}

fn hash(secret: &str) -> SecretHash {
    SecretHash::new(Sha256::digest(secret.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_made_is_read_and_any_other_text_is_not() {
        let (tenant, id) = ("a-b".parse().expect("a slug"), ApiKeyId(Uuid::from_u128(7)));
        let (text, secret_sha256) = make(&tenant, id).expect("randomness");
        assert_eq!(SentKey::read(&text), Some(SentKey { tenant: tenant.clone(), id, secret_sha256 }));
        let (another, hash) = make(&tenant, id).expect("randomness");
        assert!(another != text && hash != secret_sha256);
        let more = format!("{text}_more");
        for other in ["", "flk", "flk_a-b", "flk_A_7_x", &text[1..], &more, &text.replace("flk", "FLK")] {
            assert_eq!(SentKey::read(other), None, "{other}");
        }
    }
}
