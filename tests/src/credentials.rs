//! Tokens that `formledger token` would not mint: expired, forged, unsigned, or signed by keys of an identity provider.
//! Used by the credential journeys; all others take their tokens from the command line.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::EncodePublicKey;
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};

/// RFC 8410: a PKCS #8 document around a 32-byte Ed25519 seed begins with these bytes.
const ED25519_PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Seconds since 1970, `offset` seconds from now.
pub fn unix_seconds(offset: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs();
    i64::try_from(now).expect("the clock is before the year 292 billion") + offset
}

/// Claims of an administrator of `tenant`, valid for an hour.
pub fn claims(tenant: &str) -> Value {
    json!({ "tenant": tenant, "sub": "test", "roles": ["admin"], "exp": unix_seconds(3600) })
}

/// Signs with HMAC-SHA-256.
pub fn sign_hs256(claims: &Value, secret: &[u8]) -> String {
    let key = EncodingKey::from_secret(secret);
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).expect("claims can be signed")
}

/// A token that says it needs no signature (RFC 7519 section 6).
pub fn unsigned(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({ "alg": "none", "typ": "JWT" })), part(claims))
}

/// A key pair of an identity provider.
pub struct ProviderKey {
    id: String,
    algorithm: Algorithm,
    signing: EncodingKey,
    public: Value,
    /// The public key as PEM text, where the pair is RSA: what an attacker can know.
    pub public_pem: Option<String>,
}

impl ProviderKey {
    /// A fresh Ed25519 pair.
    pub fn ed25519(id: &str) -> Self {
        let mut seed = [0; 32];
        fastrand::fill(&mut seed);
        let public = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key();
        let document: Vec<u8> = ED25519_PKCS8_PREFIX.into_iter().chain(seed).collect();
        let x = URL_SAFE_NO_PAD.encode(public.as_bytes());
        Self {
            id: id.to_owned(),
            algorithm: Algorithm::EdDSA,
            signing: EncodingKey::from_ed_der(&document),
            public: json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": id, "x": x }),
            public_pem: None,
        }
    }

    /// A fresh RSA pair of 2,048 bits.
    pub fn rsa(id: &str) -> Self {
        let private = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).expect("a key can be made");
        let public = private.to_public_key();
        let pem = private.to_pkcs1_pem(Default::default()).expect("a key has a PEM form");
        let n = URL_SAFE_NO_PAD.encode(public.n().to_bytes_be());
        let e = URL_SAFE_NO_PAD.encode(public.e().to_bytes_be());
        Self {
            id: id.to_owned(),
            algorithm: Algorithm::RS256,
            signing: EncodingKey::from_rsa_pem(pem.as_bytes()).expect("the key was just made"),
            public: json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": id, "n": n, "e": e }),
            public_pem: Some(public.to_public_key_pem(Default::default()).expect("a key has a PEM form")),
        }
    }

    /// Signs with the private key, naming the key.
    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.signing).expect("claims can be signed")
    }
}

/// The JSON Web Key Set (RFC 7517) that the provider publishes.
pub fn jwks(keys: &[&ProviderKey]) -> Value {
    json!({ "keys": keys.iter().map(|key| key.public.clone()).collect::<Vec<_>>() })
}
