//! Who gets in: tokens that were signed by the right key for the right time, and nobody else.

use std::time::Duration;

use formledger_tests::credentials::{ProviderKey, claims, jwks, sign_hs256, unix_seconds, unsigned};
use formledger_tests::definitions::anything;
use formledger_tests::installation::SECRET;
use formledger_tests::wait::within;
use formledger_tests::{Client, Installation, Stage};
use rustix::process::{Signal, kill_process};
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

/// Asks until a token is answered as it should be: keys are read again within seconds.
async fn answered(client: &Client, status: u16, what: &str) {
    let asking = async {
        while client.get("/v1/ledger").await.status != status {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(what, asking).await;
}

#[tokio::test]
async fn tokens_of_the_secret_before_are_accepted_and_none_is_signed_with_it() {
    let old = "the secret that was there before this one";
    let stage = Stage::on(Installation::fresh().with("JWT_SECRET_PREVIOUS", old), &[]).await;
    stage.admin.publish("first", &anything("First")).await;
    stage.server.client(&sign_hs256(&claims("acme"), old.as_bytes())).get("/v1/ledger").await.expect(200);
    let third = sign_hs256(&claims("acme"), b"a secret that was never given to the server");
    assert_refused(&stage.server.client(&third), "neither of the two").await;
    let expired = sign_hs256(&with("exp", json!(unix_seconds(-3600))), old.as_bytes());
    assert_refused(&stage.server.client(&expired), "of the secret before, and expired").await;

    let later = stage.installation.with("JWT_SECRET_PREVIOUS", "");
    stage.server.stop().await;
    let server = later.serve().await;
    server.client(&later.token("acme", "ada", "admin").await).get("/v1/ledger").await.expect(200);
    assert_refused(&server.client(&sign_hs256(&claims("acme"), old.as_bytes())), "taken away").await;
    assert_refused(&server.client(&sign_hs256(&claims("acme"), b"")), "empty is no secret").await;
}

#[tokio::test]
async fn a_key_set_is_read_again_when_it_changes_and_a_broken_one_changes_nothing() {
    let (old, new) = (ProviderKey::ed25519("k1"), ProviderKey::ed25519("k2"));
    let installation = Installation::without_credentials();
    let file = installation.scratch().join("jwks.json");
    let publish = |text: &str| std::fs::write(&file, text).expect("the key set can be written");
    publish(&jwks(&[&old]).to_string());
    let server = installation.serve_with(&["--jwks", file.to_str().expect("a plain path")]).await;
    let (by_old, by_new) =
        (server.client(&old.sign(&claims("acme"))), server.client(&new.sign(&claims("acme"))));
    by_old.publish("first", &anything("First")).await;
    assert_refused(&by_new, "not published yet").await;

    publish(&jwks(&[&old, &new]).to_string());
    answered(&by_new, 200, "the new key to be known").await;
    by_old.get("/v1/ledger").await.expect(200);

    let told = |line: &'static str| {
        let server = &server;
        async move {
            let reading = async {
                while !server.stderr().contains(line) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            within(line, reading).await;
        }
    };
    publish("{\"keys\": [");
    told("the keys from before are trusted still").await;
    for client in [&by_old, &by_new] {
        client.get("/v1/ledger").await.expect(200);
    }
    let lines = || server.stderr().matches("the keys from before are trusted still").count();
    let before = lines();
    kill_process(server.pid(), Signal::HUP).expect("the server runs");
    let hung_up = async {
        while lines() == before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the file to be read again at SIGHUP", hung_up).await;
    by_new.get("/v1/ledger").await.expect(200);

    // A token that was verified before goes with its key.
    publish(&jwks(&[&new]).to_string());
    answered(&by_old, 401, "the old key to be forgotten").await;
    by_new.get("/v1/ledger").await.expect(200);
    std::fs::remove_file(&file).expect("it can be removed");
    told("No such file or directory").await;
    by_new.get("/v1/ledger").await.expect(200);
    assert_eq!(server.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_server_that_has_nothing_to_read_again_goes_on_at_sighup() {
    let stage = existing().await;
    kill_process(stage.server.pid(), Signal::HUP).expect("the server runs");
    let told = async {
        while !stage.server.stderr().contains("no `--jwks` is given") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the server to hear the signal", told).await;
    stage.admin.get("/v1/ledger").await.expect(200);
}
