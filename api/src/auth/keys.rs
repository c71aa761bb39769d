//! The keys that tokens are checked with, and the one that mints them.
//! Called by `auth` and by `formledger token`. A key fixes its algorithm: a token's header never chooses how it is checked.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use formledger_domain::{Actor, SUBJECT_BYTES_MAX, TenantId};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::refusal::TokenRefusal;
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

/// What each claim has to be that is looked at, in words that go on from its name.
const CLAIMS: [(&str, &str); 8] = [
    ("tenant", "is a text"),
    ("sub", "is a text"),
    ("roles", "is a list of texts"),
    ("exp", SECONDS_RULE),
    ("nbf", SECONDS_RULE),
    ("iat", SECONDS_RULE),
    ("auth_time", SECONDS_RULE),
    ("aud", "is a text, or a list of texts"),
];
const SECONDS_RULE: &str = "is a number: the seconds since 1970-01-01T00:00:00Z";
/// Characters of an algorithm's name that are told.
const ALGORITHM_CHARS_MAX: usize = 32;

impl Claims {
    /// Reads the claims of a token that a trusted key signed.
    ///
    /// # Errors
    /// For the first claim that is missing, given twice or of another type, by its name.
    fn read(json: &str) -> Result<Self, TokenRefusal> {
        let mut json = serde_json::Deserializer::from_str(json);
        serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let (path, what) = (error.path().to_string(), error.inner().to_string());
            let at = |name: &str| path == name || path.starts_with(&format!("{name}["));
            let named = |name: &str| what.contains(&format!(" field `{name}`"));
            match CLAIMS.iter().copied().find(|(name, _)| at(name) || named(name)) {
                Some((claim, _)) if what.starts_with("missing") => TokenRefusal::ClaimMissing(claim),
                Some((claim, _)) if what.starts_with("duplicate") => {
                    TokenRefusal::Claim { claim, right: "is there twice" }
                }
                Some((claim, right)) => TokenRefusal::Claim { claim, right },
                None => TokenRefusal::NoJwt,
            }
        })
    }
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

    /// Checks signature, expiry and shape, in this order: nothing is said of the claims of a token that nobody trusted signed.
    ///
    /// # Errors
    /// The first thing about the token that is not right.
    pub fn check(&self, token: &str) -> Result<Claims, TokenRefusal> {
        let stated = stated_algorithm(token)?;
        let header = jsonwebtoken::decode_header(token).map_err(|_| self.not_accepted(&stated))?;
        let claims = match header.alg {
            Algorithm::HS256 if !self.secrets.is_empty() => self.by_secret(token)?,
            public if self.public.iter().any(|(of, _, _)| *of == public) => {
                self.find(public, header.kid.as_deref())?.claims(token)?
            }
            _ => return Err(self.not_accepted(&stated)),
        };
        if !is_subject(&claims.sub) {
            return Err(TokenRefusal::Claim { claim: "sub", right: SUBJECT_RULE });
        }
        Ok(claims)
    }

    /// What the secret says that signed the token.
    fn by_secret(&self, token: &str) -> Result<Claims, TokenRefusal> {
        let checked = self.secrets.iter().map(|key| key.claims(token));
        let signed = |checked: &Result<Claims, TokenRefusal>| *checked != Err(TokenRefusal::Signature);
        checked.into_iter().find(signed).unwrap_or(Err(TokenRefusal::Signature))
    }

    /// Why a token is refused whose header names an algorithm that no key is for.
    fn not_accepted(&self, stated: &str) -> TokenRefusal {
        let public = self.public.iter().map(|(algorithm, _, _)| *algorithm);
        let secret = (!self.secrets.is_empty()).then_some(Algorithm::HS256);
        let mut accepted: Vec<String> =
            secret.into_iter().chain(public).map(|of| format!("{of:?}")).collect();
        accepted.sort();
        accepted.dedup();
        let stated = stated.to_owned();
        if accepted.contains(&stated) {
            TokenRefusal::NoJwt
        } else {
            TokenRefusal::Algorithm { stated, accepted }
        }
    }

    /// The public key for an algorithm and key id. Without a key id the only key of that algorithm is meant, when there is only one.
    ///
    /// # Errors
    /// When there is no such key, or there are several.
    fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<&Key, TokenRefusal> {
        let mut candidates = self
            .public
            .iter()
            .filter(|(of, id, _)| *of == algorithm && (kid.is_none() || id.as_deref() == kid));
        let (_, _, key) = candidates.next().ok_or(TokenRefusal::KeyUnknown)?;
        if candidates.next().is_some() { Err(TokenRefusal::KeyNotNamed) } else { Ok(key) }
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
    fn claims(&self, token: &str) -> Result<Claims, TokenRefusal> {
        let decoded = jsonwebtoken::decode::<Box<RawValue>>(token, &self.decoding, &self.validation);
        match decoded {
            Ok(signed) => Claims::read(signed.claims.get()),
            Err(error) => Err(why(error.kind(), token)),
        }
    }
}

/// What jsonwebtoken refuses a token for. It looks at the signature first, so where it says something of the claims, a trusted key signed them.
fn why(kind: &ErrorKind, token: &str) -> TokenRefusal {
    let is_there = |claim: &str| stated_claim(token, claim).is_some_and(|value| !value.is_null());
    let time = |claim: &str| stated_claim(token, claim).and_then(|value| value.as_f64());
    let moment = |claim: &str| time(claim).and_then(|seconds| DateTime::from_timestamp(seconds as i64, 0));
    match kind {
        ErrorKind::InvalidToken | ErrorKind::Base64(_) | ErrorKind::Json(_) | ErrorKind::Utf8(_) => {
            TokenRefusal::NoJwt
        }
        ErrorKind::ExpiredSignature => TokenRefusal::Expired(moment("exp")),
        ErrorKind::ImmatureSignature => TokenRefusal::NotYetValid(moment("nbf")),
        ErrorKind::InvalidAudience => {
            TokenRefusal::Claim { claim: "aud", right: "does not name the audience that this server is" }
        }
        // It calls a claim missing that is of another type.
        ErrorKind::MissingRequiredClaim(name) | ErrorKind::InvalidClaimFormat(name) => {
            match CLAIMS.iter().copied().find(|(claim, _)| name == claim) {
                Some((claim, right)) if is_there(claim) => TokenRefusal::Claim { claim, right },
                Some((claim, _)) => TokenRefusal::ClaimMissing(claim),
                None => TokenRefusal::NoJwt,
            }
        }
        _ => TokenRefusal::Signature,
    }
}

/// A claim of a token, whoever signed it.
fn stated_claim(token: &str, claim: &str) -> Option<Value> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Value>(&claims).ok()?.get_mut(claim).map(Value::take)
}

/// The algorithm that a token's header names, before anything is known of the token.
///
/// # Errors
/// For what is no header of a signed token; and for one with `crit`: who does not know what that names, which is nothing that we know, must not
/// accept the token (RFC 7515 section 4.1.11).
fn stated_algorithm(token: &str) -> Result<String, TokenRefusal> {
    let header = token.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok());
    let header = header.and_then(|json| serde_json::from_slice::<Value>(&json).ok());
    let Some(Value::Object(header)) = header else { return Err(TokenRefusal::NoJwt) };
    if header.contains_key("crit") {
        return Err(TokenRefusal::Extensions);
    }
    let algorithm = header.get("alg").and_then(Value::as_str).ok_or(TokenRefusal::NoJwt)?;
    // Registered names are short; what is longer is cut, because it is told and logged.
    Ok(algorithm.chars().take(ALGORITHM_CHARS_MAX).collect())
}

const SUBJECT_RULE: &str =
    "is 1 to 256 bytes without control characters, and neither `system` nor one that begins with `key:`";

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
        return Err(ConfigError(format!("a subject {SUBJECT_RULE}")));
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
        assert!(stated_algorithm(&token(r#"{"alg":"HS256","typ":"JWT"}"#)).is_ok());
        for header in [r#"{"alg":"HS256","crit":["x"],"x":1}"#, r#"{"alg":"HS256","crit":[]}"#] {
            assert_eq!(stated_algorithm(&token(header)).err(), Some(TokenRefusal::Extensions), "{header}");
        }
        for header in ["no JSON", "[]", "{}", r#"{"alg":1}"#] {
            assert_eq!(stated_algorithm(&token(header)).err(), Some(TokenRefusal::NoJwt), "{header}");
        }
    }

    #[test]
    fn the_page_tells_every_claim_and_its_bounds() {
        let page = include_str!("../../../docs/roles.md");
        for (claim, _) in CLAIMS {
            assert!(page.contains(&format!("\n| `{claim}` | ")), "docs/roles.md: a row for `{claim}`");
        }
        for told in [
            format!("within {} seconds", TOKEN_CLOCK_LEEWAY.as_secs()),
            format!("1 to {SUBJECT_BYTES_MAX} bytes"),
        ] {
            assert!(page.contains(&told), "docs/roles.md: {told}");
        }
        assert!(SUBJECT_RULE.contains(&format!("1 to {SUBJECT_BYTES_MAX} bytes")));
    }
}
