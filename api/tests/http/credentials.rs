//! Which credentials are taken, and which are not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use formledger_api::{App, mint};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::{SECRET, Server, admin, settings};

fn in_an_hour() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    now.as_secs() + 3600
}

fn claims() -> Value {
    json!({"tenant": "acme", "sub": "ada", "roles": ["admin"], "exp": in_an_hour()})
}

fn signed(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    jsonwebtoken::encode(header, claims, key).expect("signs")
}

fn hs256(claims: &Value, secret: &str) -> String {
    signed(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.as_bytes()))
}

#[tokio::test]
async fn a_token_is_checked_in_every_part_and_refused_with_the_reason() {
    let server = Server::start().await;
    server.publish(&admin("acme"), "expense").await;
    server.get(&hs256(&claims(), SECRET), "/v1/forms").await.expect(200);
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().expect("an object").remove(name);
        hs256(&claims, SECRET)
    };
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        hs256(&claims, SECRET)
    };
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", part(json!({"alg": "none", "typ": "JWT"})), part(claims()));
    let hs512 =
        signed(&Header::new(Algorithm::HS512), &claims(), &EncodingKey::from_secret(SECRET.as_bytes()));
    for (token, reason) in [
        (&*hs256(&claims(), "another secret"), "signed by no key that is trusted here"),
        // Whoever has no key learns nothing of what else is wrong.
        (&hs256(&json!({"exp": 1}), "another secret"), "signed by no key that is trusted here"),
        (&none, "signed by `none` are not accepted here; accepted are `HS256`"),
        (&hs512, "signed by `HS512` are not accepted here; accepted are `HS256`"),
        ("nonsense", "is no signed JWT"),
        (&without("exp"), "lacks the claim `exp`"),
        (&without("sub"), "lacks the claim `sub`"),
        (&without("tenant"), "lacks the claim `tenant`"),
        (&with("exp", json!(1_700_000_000)), "expired at 2023-11-14T22:13:20Z"),
        (&with("exp", json!("soon")), "claim `exp` is a number"),
        (&with("nbf", json!(in_an_hour())), "is not valid before 20"),
        (&with("nbf", json!("later")), "claim `nbf` is a number"),
        (&with("iat", json!("now")), "claim `iat` is a number"),
        (&with("roles", json!("admin")), "claim `roles` is a list of texts"),
        (&with("roles", json!([1])), "claim `roles` is a list of texts"),
        (&with("sub", json!(7)), "claim `sub` is a text"),
        (&with("sub", json!("")), "claim `sub` is 1 to 256 bytes"),
        (&with("sub", json!("key:1")), "claim `sub` is 1 to 256 bytes"),
        (&with("tenant", json!(7)), "claim `tenant` is a text"),
        (&with("tenant", json!("Not A Slug")), "claim `tenant` is a tenant's name: 1 to 63 of"),
    ] {
        let answer = server.get(token, "/v1/forms").await;
        let challenge = answer.header("www-authenticate").to_owned();
        let problem = answer.expect_problem(401, "unauthenticated");
        let detail = problem["detail"].as_str().expect("a text");
        assert!(detail.contains(reason), "{reason}: {detail}");
        let expected =
            format!("Bearer realm=\"formledger\", error=\"invalid_token\", error_description=\"{detail}\"");
        assert_eq!(challenge, expected);
        assert!(!detail.contains("ada") && !detail.contains("acme"), "refusals are logged: {detail}");
    }
}

/// RFC 6750 section 3.1: to who sent no token, what is asked for and no error.
#[tokio::test]
async fn a_request_without_a_token_is_challenged_without_an_error() {
    let server = Server::start().await;
    server.publish(&admin("acme"), "expense").await;
    for header in [&[][..], &[("authorization", "Basic YTpi")], &[("x-api-key", "k")]] {
        let answer = server.call(http::Method::GET, "/v1/forms", header, "").await;
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"formledger\"");
        answer.expect_problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_token_that_was_good_is_refused_once_it_has_expired() {
    let server = Server::start().await;
    server.publish(&admin("acme"), "expense").await;
    // The leeway is five seconds, so this token is good for one more.
    let almost = json!({"tenant": "acme", "sub": "ada", "roles": [], "exp": in_an_hour() - 3600 - 4});
    let token = hs256(&almost, SECRET);
    server.get(&token, "/v1/forms").await.expect(200);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let refused = server.get(&token, "/v1/forms").await.expect_problem(401, "unauthenticated");
    assert!(
        refused["detail"].as_str().is_some_and(|text| text.starts_with("the token expired at ")),
        "{refused}"
    );
}

#[tokio::test]
async fn keys_of_a_set_check_their_own_algorithm_and_no_other() {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let public = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
    let signing = EncodingKey::from_ed_der(key.to_pkcs8_der().expect("encodes").as_bytes());
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("keys.json");
    let set = json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "kid": "k1", "use": "sig", "x": public},
        {"kty": "oct", "kid": "k2", "k": URL_SAFE_NO_PAD.encode("symmetric keys have no place in a public set")},
    ]});
    std::fs::write(&path, set.to_string()).expect("writes");
    let server = Server::start_with(|settings| {
        settings.auth.jwt_secret = None;
        settings.auth.jwks = Some(path);
    })
    .await;
    let header = |algorithm, kid: &str| Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
    let good = signed(&header(Algorithm::EdDSA, "k1"), &claims(), &signing);
    server.publish(&good, "expense").await;
    let hs256 = "signed by `HS256` are not accepted here; accepted are `EdDSA`";
    let another = EncodingKey::from_ed_der(
        ed25519_dalek::SigningKey::from_bytes(&[8; 32]).to_pkcs8_der().expect("encodes").as_bytes(),
    );
    let confused = [
        // The public key as an HMAC secret: the oldest trick.
        (
            signed(&header(Algorithm::HS256, "k1"), &claims(), &EncodingKey::from_secret(public.as_bytes())),
            hs256,
        ),
        (
            signed(
                &header(Algorithm::HS256, "k2"),
                &claims(),
                &EncodingKey::from_secret(b"symmetric keys have no place in a public set"),
            ),
            hs256,
        ),
        (signed(&header(Algorithm::EdDSA, "k3"), &claims(), &signing), "names in `kid` is not trusted here"),
        (signed(&header(Algorithm::EdDSA, "k1"), &claims(), &another), "signed by no key that is trusted"),
    ];
    for (token, reason) in &confused {
        let refused = server.get(token, "/v1/forms").await.expect_problem(401, "unauthenticated");
        assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains(reason)), "{refused}");
    }
}

#[tokio::test]
async fn another_tenants_submission_is_missing_in_the_same_words_as_one_that_never_was() {
    let server = Server::start().await;
    let (acme, globex) = (admin("acme"), admin("globex"));
    server.publish(&acme, "expense").await;
    server.publish(&globex, "expense").await;
    let location = server.submit(&acme, "expense", 1.0).await.expect(201).header("location").to_owned();
    let never = "/v1/submissions/01a2044c-820f-767f-8936-209666b7162d";
    for suffix in ["", "/timeline"] {
        let theirs =
            server.get(&globex, &format!("{location}{suffix}")).await.expect_problem(404, "not-found");
        let nothing = server.get(&globex, &format!("{never}{suffix}")).await.expect_problem(404, "not-found");
        assert_eq!(theirs["detail"], nothing["detail"]);
    }
}

#[tokio::test]
async fn nothing_starts_without_a_way_to_check_tokens() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut settings = settings(folder.path());
    settings.auth.jwt_secret = None;
    let error = App::build(settings).await.err().expect("refused");
    assert!(error.to_string().contains("--jwt-secret"));
    assert!(mint("s", &"acme".parse().expect("a slug"), "ada", &[], Duration::from_secs(1)).is_ok());
}
