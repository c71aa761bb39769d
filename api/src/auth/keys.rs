//! The keys that tokens are checked with, and the one that mints them.
//! Called by `auth` and by `formledger token`. A key fixes its algorithm: a token's header never chooses how it is checked.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use formledger_domain::{Actor, SUBJECT_BYTES_MAX, TenantId};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::config::{AuthSettings, ConfigError};
use crate::limits::TOKEN_CLOCK_LEEWAY;

/// What a token says (RFC 7519).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The tenant that the token is for.
    pub tenant: String,
    /// Who it speaks for.
    pub sub: String,
    /// What they may do there.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Seconds since the epoch at which it ends.
    #[serde(deserialize_with = "whole_seconds")]
    pub exp: u64,
    /// Seconds since the epoch at which it was made.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_seconds")]
    pub iat: Option<u64>,
    /// Seconds since the epoch at which the person showed their credentials (OpenID Connect Core 1.0 section 2).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_seconds")]
    pub auth_time: Option<u64>,
}

/// RFC 7519 allows a fraction in a date; it is dropped, which ends a token no later than it asked for.
fn whole_seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    f64::deserialize(deserializer).map(|seconds| seconds.max(0.0) as u64)
}

fn some_seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.map(|seconds| seconds.max(0.0) as u64))
}

/// One key with the only algorithm it is used for.
struct Key {
    decoding: DecodingKey,
    validation: Validation,
}

/// All keys that are trusted.
pub struct Keys {
    /// The one that signs first, then the one before it.
    secrets: Vec<Key>,
    public: Vec<(Algorithm, Option<String>, Key)>,
}

impl Keys {
    /// The keys that the settings name; `jwks` is what the file of the key set says, where they name one.
    ///
    /// # Errors
    /// When none is named, or the key set cannot be understood.
    pub fn new(settings: &AuthSettings, jwks: Option<&str>) -> Result<Self, ConfigError> {
        let audience = settings.jwt_audience.as_deref();
        let secret = |secret: &String| {
            Key::new(DecodingKey::from_secret(secret.as_bytes()), Algorithm::HS256, audience)
        };
        let secrets = [&settings.jwt_secret, &settings.jwt_secret_previous];
        let secrets: Vec<Key> = secrets.into_iter().flatten().map(secret).collect();
        let path = settings.jwks.as_deref().unwrap_or(Path::new(""));
        let public = jwks.map(|text| read_jwks(path, text, audience)).transpose()?.unwrap_or_default();
        if secrets.is_empty() && public.is_empty() {
            return Err(ConfigError(
                "give `--jwt-secret` or `--jwks`, so that tokens can be checked".to_owned(),
            ));
        }
        Ok(Self { secrets, public })
    }

    /// Checks signature, expiry and shape; `None` when anything about the token is not right.
    pub fn check(&self, token: &str) -> Option<Claims> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        if names_extensions(token) {
            return None;
        }
        let claims = if header.alg == Algorithm::HS256 {
            self.secrets.iter().find_map(|key| key.claims(token))?
        } else {
            self.find(header.alg, header.kid.as_deref())?.claims(token)?
        };
        is_subject(&claims.sub).then_some(claims)
    }

    /// The public key for an algorithm and key id. Without a key id the only key of that algorithm is meant, when there is only one.
    fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> Option<&Key> {
        let mut candidates = self
            .public
            .iter()
            .filter(|(of, id, _)| *of == algorithm && (kid.is_none() || id.as_deref() == kid));
        let (_, _, key) = candidates.next()?;
        candidates.next().is_none().then_some(key)
    }
}

impl Key {
    fn new(decoding: DecodingKey, algorithm: Algorithm, audience: Option<&str>) -> Self {
        let mut validation = Validation::new(algorithm);
        validation.leeway = TOKEN_CLOCK_LEEWAY.as_secs();
        validation.validate_nbf = true;
        validation.validate_aud = audience.is_some();
        if let Some(audience) = audience {
            validation.set_audience(&[audience]);
            validation.set_required_spec_claims(&["exp", "aud"]);
        }
        Self { decoding, validation }
    }

    /// What a token says that this key signed and that is good now.
    fn claims(&self, token: &str) -> Option<Claims> {
        jsonwebtoken::decode(token, &self.decoding, &self.validation).ok().map(|data| data.claims)
    }
}

/// Whether a token must not be accepted by who does not know what `crit` of its header names (RFC 7515 section 4.1.11), which is nothing that we know.
fn names_extensions(token: &str) -> bool {
    let header = token.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok());
    let header = header.and_then(|json| serde_json::from_slice::<serde_json::Value>(&json).ok());
    header.is_none_or(|header| header.get("crit").is_some())
}

/// Whether a text can be somebody: it stands in keys, logs and header fields, and for nobody else in the record.
fn is_subject(text: &str) -> bool {
    (1..=SUBJECT_BYTES_MAX).contains(&text.len())
        && !text.chars().any(char::is_control)
        && !Actor::is_reserved(text)
}

/// Signs a token with the secret.
///
/// # Errors
/// For a subject that no request would be answered to.
pub fn mint(
    secret: &str,
    tenant: &TenantId,
    subject: &str,
    roles: &[String],
    ttl: Duration,
) -> Result<String, ConfigError> {
    if !is_subject(subject) {
        let what = format!(
            "a subject is 1 to {SUBJECT_BYTES_MAX} bytes without control characters, and neither `system` nor `key:…`"
        );
        return Err(ConfigError(what));
    }
    let now = jsonwebtoken::get_current_timestamp();
    let claims = Claims {
        tenant: tenant.to_string(),
        sub: subject.to_owned(),
        roles: roles.to_vec(),
        exp: now + ttl.as_secs(),
        iat: Some(now),
        auth_time: None,
    };
    jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        &claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .map_err(|error| ConfigError(format!("the token cannot be signed: {error}")))
}

fn read_jwks(
    path: &Path,
    text: &str,
    audience: Option<&str>,
) -> Result<Vec<(Algorithm, Option<String>, Key)>, ConfigError> {
    let failed = |what: String| ConfigError(format!("`--jwks {}`: {what}", path.display()));
    let set: JwkSet =
        serde_json::from_str(text).map_err(|error| failed(format!("not a JSON Web Key Set: {error}")))?;
    let mut keys = Vec::new();
    for jwk in &set.keys {
        // A set may hold keys for other purposes; only keys that could check a token of ours are taken.
        let Some(algorithm) = signature_algorithm(jwk) else { continue };
        let decoding = DecodingKey::from_jwk(jwk).map_err(|error| failed(error.to_string()))?;
        keys.push((algorithm, jwk.common.key_id.clone(), Key::new(decoding, algorithm, audience)));
    }
    if keys.is_empty() {
        return Err(failed("holds no RSA or Ed25519 key that checks signatures".to_owned()));
    }
    Ok(keys)
}

/// RS256 for an RSA key and EdDSA for an Ed25519 key. Never HS256: a symmetric key in a public set is a mistake or an attack.
fn signature_algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    let for_this = jwk.common.key_algorithm.is_none_or(|stated| stated == name);
    (for_signatures && for_this).then_some(algorithm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_must_be_understood_is_not() {
        let token = |header: &str| format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header));
        assert!(!names_extensions(&token(r#"{"alg":"HS256","typ":"JWT"}"#)));
        for header in [r#"{"alg":"HS256","crit":["x"],"x":1}"#, r#"{"alg":"HS256","crit":[]}"#, "no JSON"] {
            assert!(names_extensions(&token(header)), "{header}");
        }
    }
}
