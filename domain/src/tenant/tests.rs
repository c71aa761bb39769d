//! What a tenant decides, one sentence a test.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;

fn acme() -> TenantId {
    "acme".parse().expect("a slug")
}

fn id(number: u128) -> ApiKeyId {
    ApiKeyId(Uuid::from_u128(number))
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn now() -> DateTime<Utc> {
    time("2026-02-26T10:00:00Z")
}

fn key() -> ApiKey {
    ApiKey {
        name: "importer".into(),
        roles: vec!["submitter".to_owned()].into(),
        forms: Some(vec!["expense".parse().expect("a form id")].into()),
        expires_at: Some(time("2026-03-01T00:00:00Z")),
        secret_sha256: SecretHash::new([7; 32]),
    }
}

fn create(key: ApiKey) -> TenantCommand {
    TenantCommand::CreateApiKey { id: id(1), key, made_by: None, now: now() }
}

fn created(number: u128) -> TenantEvent {
    TenantEvent::ApiKeyCreated { id: id(number), key: key(), made_by: None }
}

fn made(number: u128, maker: u128) -> TenantEvent {
    TenantEvent::ApiKeyCreated { id: id(number), key: key(), made_by: Some(id(maker)) }
}

fn revoke(number: u128) -> TenantCommand {
    TenantCommand::RevokeApiKey { id: id(number), makers: Makers::new(), now: now() }
}

fn revoked(number: u128) -> TenantEvent {
    TenantEvent::ApiKeyRevoked { id: id(number) }
}

#[test]
fn the_first_registration_opens_the_ledger() {
    TestFramework::<Tenant>::with(())
        .given_no_previous_events()
        .when(TenantCommand::Register { tenant: acme() })
        .then_expect_events(vec![TenantEvent::Registered { tenant: acme() }]);
}

#[test]
fn a_tenant_is_registered_once() {
    TestFramework::<Tenant>::with(())
        .given(vec![TenantEvent::Registered { tenant: acme() }])
        .when(TenantCommand::Register { tenant: acme() })
        .then_expect_error(TenantError::AlreadyRegistered(acme()));
}

#[test]
fn a_key_is_recorded_with_the_hash_of_its_secret() {
    TestFramework::<Tenant>::with(())
        .given(vec![TenantEvent::Registered { tenant: acme() }])
        .when(create(key()))
        .then_expect_events(vec![created(1)]);
}

#[test]
fn a_key_without_a_name_or_roles_or_with_nothing_in_its_scope_or_of_the_past_is_not_made() {
    let refused = |change: fn(&mut ApiKey)| {
        let mut key = key();
        change(&mut key);
        Tenant::default().decide(create(key)).expect_err("refused")
    };
    for change in [
        |key: &mut ApiKey| key.name = "".into(),
        |key: &mut ApiKey| key.name = "a\nb".into(),
        |key: &mut ApiKey| key.roles = Vec::new().into(),
        |key: &mut ApiKey| key.roles = vec![String::new()].into(),
        |key: &mut ApiKey| key.roles = vec!["admin".to_owned(), "operator".to_owned()].into(),
        |key: &mut ApiKey| key.roles = vec!["r".to_owned(); API_KEY_ROLES_MAX + 1].into(),
        |key: &mut ApiKey| key.forms = Some(Vec::new().into()),
        |key: &mut ApiKey| key.expires_at = Some(now()),
    ] {
        let error = refused(change);
        assert!(matches!(error, TenantError::ApiKeyInvalid(_)), "{error}");
    }
}

#[test]
fn a_revoked_key_stays_revoked_and_an_unknown_one_is_missing() {
    let given = |events| TestFramework::<Tenant>::with(()).given(events);
    given(vec![created(1)]).when(revoke(1)).then_expect_events(vec![revoked(1)]);
    given(vec![created(1), revoked(1)]).when(revoke(1)).then_expect_events(vec![]);
    given(vec![created(2)]).when(revoke(1)).then_expect_error(TenantError::ApiKeyMissing);
}

#[test]
fn with_a_key_end_those_that_it_made_and_theirs_and_no_others() {
    let given = |events| TestFramework::<Tenant>::with(()).given(events);
    let family = || vec![created(1), made(2, 1), created(3), made(4, 2), made(5, 3)];
    given(family()).when(revoke(1)).then_expect_events(vec![revoked(1), revoked(2), revoked(4)]);
    given(family()).when(revoke(2)).then_expect_events(vec![revoked(2), revoked(4)]);
    let without_2 = [family(), vec![revoked(2)]].concat();
    given(without_2).when(revoke(1)).then_expect_events(vec![revoked(1), revoked(4)]);
    let over =
        TenantCommand::RevokeApiKey { id: id(1), makers: Makers::new(), now: time("2026-03-02T00:00:00Z") };
    given(family()).when(over).then_expect_events(vec![revoked(1)]);
}

#[test]
fn keys_made_before_events_named_their_makers_end_with_them_too_also_when_those_were_revoked_then() {
    let given = |events| TestFramework::<Tenant>::with(()).given(events);
    let told = || {
        let makers = [(id(2), id(1)), (id(1), id(2))].into();
        TenantCommand::RevokeApiKey { id: id(1), makers, now: now() }
    };
    let family = || vec![created(1), created(2), made(3, 2)];
    given(family()).when(told()).then_expect_events(vec![revoked(1), revoked(2), revoked(3)]);
    let revoked_then = [family(), vec![revoked(1)]].concat();
    given(revoked_then).when(told()).then_expect_events(vec![revoked(2), revoked(3)]);
}

#[test]
fn a_key_that_was_revoked_since_it_was_let_in_makes_none() {
    let ask = || TenantCommand::CreateApiKey { id: id(2), key: key(), made_by: Some(id(1)), now: now() };
    let given = |events| TestFramework::<Tenant>::with(()).given(events);
    given(vec![created(1)]).when(ask()).then_expect_events(vec![made(2, 1)]);
    given(vec![created(1), revoked(1)]).when(ask()).then_expect_error(TenantError::MakerEnded);
}

#[test]
fn expired_and_revoked_keys_leave_room_for_others() {
    let mut tenant = Tenant::default();
    for number in 0..API_KEYS_MAX {
        tenant.apply(created(number as u128));
    }
    let ask = |now| TenantCommand::CreateApiKey {
        id: id(5_000),
        key: ApiKey { expires_at: None, ..key() },
        made_by: None,
        now,
    };
    assert_eq!(tenant.decide(ask(now())), Err(TenantError::TooManyApiKeys));
    assert!(tenant.decide(ask(time("2026-03-01T00:00:00Z"))).is_ok(), "they have all expired then");
    tenant.apply(TenantEvent::ApiKeyRevoked { id: id(3) });
    assert!(tenant.decide(ask(now())).is_ok());
    assert_eq!(tenant.api_key(id(3)), None);
}

#[test]
fn what_is_audited_changes_when_it_is_said_to_be_something_else() {
    let settings = AuditSettings { refusals: true, reads: false, exports: true };
    let given = |events| TestFramework::<Tenant>::with(()).given(events);
    let configured = TenantEvent::AuditConfigured { settings };
    let ask = || TenantCommand::ConfigureAudit { settings };
    given(vec![]).when(ask()).then_expect_events(vec![configured.clone()]);
    given(vec![configured]).when(ask()).then_expect_events(vec![]);
    assert_eq!(Tenant::default().audit_settings(), AuditSettings::default(), "nothing at first");
}

#[test]
fn a_secrets_hash_is_written_as_hex_and_never_shown() {
    let hash = SecretHash::new([0xa5; 32]);
    let text = String::from(hash);
    assert_eq!(text, "a5".repeat(32));
    assert_eq!(text.parse(), Ok(hash));
    assert!("a5".parse::<SecretHash>().is_err());
    assert!("zz".repeat(32).parse::<SecretHash>().is_err());
    assert_ne!(hash, SecretHash::new([0; 32]));
    assert!(!format!("{:?}", key()).contains("a5"));
}
