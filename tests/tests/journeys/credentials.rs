//! Who gets in: tokens that were signed by the right key for the right time, and nobody else.

use formledger_tests::credentials::{ProviderKey, claims, jwks, sign_hs256, unix_seconds, unsigned};
use formledger_tests::definitions::anything;
use formledger_tests::installation::SECRET;
use formledger_tests::{Client, Installation, Stage};
use serde_json::{Value, json};

/// What every refused token gets: 401 as a problem, with the scheme to use.
async fn assert_refused(client: &Client, why: &str) {
    let answer = client.get("/v1/ledger").await;
    assert_eq!(answer.status, 401, "{why}: {}", answer.text());
    assert!(answer.header("www-authenticate").is_some_and(|scheme| scheme.starts_with("Bearer")), "{why}");
    answer.expect_any_problem(401);
}

/// A stage whose tenant exists: it begins with its administrator's first command.
async fn existing() -> Stage {
    Stage::with_form("first", &anything("First")).await
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims("acme");
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims("acme");
    claims.as_object_mut().expect("claims are an object").remove(name);
    claims
}

#[tokio::test]
async fn a_token_of_the_command_line_gets_in() {
    let stage = existing().await;
    stage.admin.get("/v1/ledger").await.expect(200);
}

#[tokio::test]
async fn tokens_that_prove_nothing_are_refused() {
    let stage = Stage::set().await;
    let sign = |claims: &Value| sign_hs256(claims, SECRET.as_bytes());
    let good = sign(&claims("acme"));
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let head = signed.split('.').next().expect("three parts");
    let forged_claims = sign_hs256(&claims("globex"), b"another secret of the right length!!");
    let forged_claims = forged_claims.split('.').nth(1).expect("three parts");
    let tokens = [
        ("expired an hour ago", sign(&with("exp", json!(unix_seconds(-3600))))),
        ("valid only in an hour", sign(&with("nbf", json!(unix_seconds(3600))))),
        ("signed with another secret", sign_hs256(&claims("acme"), b"another secret of the right length!!")),
        ("unsigned", unsigned(&claims("acme"))),
        ("without its signature", format!("{signed}.")),
        ("cut short", signed.to_owned()),
        ("with other claims under the same signature", format!("{head}.{forged_claims}.{signature}")),
        ("no token at all", "garbage".to_owned()),
        ("empty", String::new()),
        ("without expiry", sign(&without("exp"))),
        ("without tenant", sign(&without("tenant"))),
        ("without subject", sign(&without("sub"))),
        ("for an empty subject", sign(&with("sub", json!("")))),
        ("for a subject that fits into no key", sign(&with("sub", json!("s".repeat(257))))),
        ("in the product's name", sign(&with("sub", json!("system")))),
        ("in the name of an API key", sign(&with("sub", json!("key:01a205ee-ec42-7257-b82e-33d9267efd6d")))),
        ("for a subject that no log could show", sign(&with("sub", json!("s\u{0}")))),
        ("for a tenant that is no slug", sign(&with("tenant", json!("Acme/../globex")))),
        ("for an empty tenant", sign(&with("tenant", json!("")))),
        ("for two tenants", sign(&with("tenant", json!(["acme", "globex"])))),
    ];
    for (why, token) in tokens {
        assert_refused(&stage.server.client(&token), why).await;
    }
    assert_refused(&stage.server.anonymous(), "no credential").await;
    let basic =
        stage.server.anonymous().get("/v1/ledger").header("Authorization", "Basic YWRhOmFkYQ==").await;
    basic.expect_any_problem(401);
    let key = stage.server.anonymous().get("/v1/ledger").header("X-Api-Key", "no such key").await;
    key.expect_any_problem(401);
}

#[tokio::test]
async fn a_token_minted_for_a_moment_ends_with_it() {
    let stage = existing().await;
    let minted = stage.installation.run(&[
        "token",
        "--tenant",
        "acme",
        "--subject",
        "s",
        "--roles",
        "admin",
        "--ttl",
        "7d",
    ]);
    let token = minted.await.expect(0).stdout.trim().to_owned();
    stage.server.client(&token).get("/v1/ledger").await.expect(200);
    let expired = sign_hs256(&with("exp", json!(unix_seconds(-60))), SECRET.as_bytes());
    assert_refused(&stage.server.client(&expired), "a minute past").await;
}

#[tokio::test]
async fn a_token_without_a_role_reads_and_writes_nothing() {
    let stage = Stage::set().await;
    for roles in [json!([]), json!(["no-such-role"])] {
        let token = sign_hs256(&with("roles", roles), SECRET.as_bytes());
        let nobody = stage.server.client(&token);
        nobody.put("/v1/forms/mine", &json!({})).await.expect_problem(403, "not-permitted");
    }
}

#[tokio::test]
async fn tokens_of_an_identity_provider_are_checked_with_its_published_keys() {
    let (rsa, ed25519, unknown) =
        (ProviderKey::rsa("r1"), ProviderKey::ed25519("e1"), ProviderKey::ed25519("e1"));
    let installation = Installation::without_credentials();
    let file = installation.scratch().join("jwks.json");
    std::fs::write(&file, jwks(&[&rsa, &ed25519]).to_string()).expect("the key set can be written");
    let server = installation.serve_with(&["--jwks", file.to_str().expect("a plain path")]).await;
    let admin = server.client(&rsa.sign(&claims("acme")));
    admin.put("/v1/forms/first", &anything("First")).await.expect(200);
    for key in [&rsa, &ed25519] {
        server.client(&key.sign(&claims("acme"))).get("/v1/ledger").await.expect(200);
        let expired = key.sign(&with("exp", json!(unix_seconds(-3600))));
        assert_refused(&server.client(&expired), "expired").await;
    }
    assert_refused(&server.client(&unknown.sign(&claims("acme"))), "another key under a known name").await;
    let stranger = ProviderKey::rsa("r2");
    assert_refused(&server.client(&stranger.sign(&claims("acme"))), "a key that was never published").await;
    assert_refused(&server.client(&unsigned(&claims("acme"))), "unsigned").await;
    // The public key is known to everybody: as an HMAC secret it must prove nothing.
    let public = rsa.public_pem.as_deref().expect("an RSA key has one");
    let confused = [public.as_bytes(), public.trim().as_bytes(), b"".as_slice()];
    for secret in confused {
        assert_refused(&server.client(&sign_hs256(&claims("acme"), secret)), "HS256 with the public key")
            .await;
    }
    let by_secret = sign_hs256(&claims("acme"), SECRET.as_bytes());
    assert_refused(&server.client(&by_secret), "HS256 where no secret is configured").await;
}

#[tokio::test]
async fn a_secret_does_not_open_the_door_to_other_algorithms() {
    let stage = Stage::set().await;
    for key in [ProviderKey::rsa("r1"), ProviderKey::ed25519("e1")] {
        let token = key.sign(&claims("acme"));
        assert_refused(&stage.server.client(&token), "a key pair where only a secret is configured").await;
    }
}
