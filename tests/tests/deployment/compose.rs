//! docker-compose.yml as the Compose specification reads it: known members only, everything pinned, healthy and in place.
//! A member that is missing from the types below is refused: add it here when the file comes to need it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use formledger_tests::Installation;
use formledger_tests::installation::repository;
use serde::Deserialize;
use serde_yaml_ng::Value;

use crate::parts::pinned_rust;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Compose {
    name: String,
    #[serde(rename = "x-postgres")]
    _postgres: Value,
    #[serde(rename = "x-api")]
    _api: Value,
    services: BTreeMap<String, Service>,
    networks: BTreeMap<String, Network>,
    volumes: BTreeMap<String, BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    #[serde(default)]
    internal: bool,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    image: String,
    build: Option<Build>,
    restart: String,
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    depends_on: BTreeMap<String, Dependency>,
    healthcheck: Option<HealthCheck>,
    networks: Vec<String>,
    #[serde(default, rename = "tmpfs")]
    _tmpfs: Vec<String>,
    #[serde(default, rename = "read_only")]
    _read_only: bool,
    #[serde(default, rename = "cap_drop")]
    _cap_drop: Vec<String>,
    #[serde(default)]
    security_opt: Vec<String>,
    #[serde(rename = "shm_size")]
    _shm_size: Option<String>,
    #[serde(rename = "stop_grace_period")]
    _stop_grace_period: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    context: String,
    dockerfile: String,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dependency {
    condition: String,
    #[serde(default = "yes")]
    required: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthCheck {
    test: Vec<String>,
    #[serde(rename = "interval")]
    _interval: String,
    #[serde(rename = "timeout")]
    _timeout: String,
    #[serde(rename = "retries")]
    _retries: u32,
    #[serde(rename = "start_period")]
    _start_period: Option<String>,
}

/// A service that runs once: others wait for its good end instead of its health.
fn runs_once(service: &Service) -> bool {
    service.restart == "no"
}

fn text() -> String {
    fs::read_to_string(repository().join("docker-compose.yml")).expect("there is a docker-compose.yml")
}

fn compose() -> Compose {
    let mut document: Value = serde_yaml_ng::from_str(&text()).expect("docker-compose.yml is YAML");
    document.apply_merge().expect("`<<` merges mappings");
    serde_yaml_ng::from_value(document).unwrap_or_else(|error| panic!("docker-compose.yml: {error}"))
}

/// The parts that the issue of running it asks for are all there, and nothing else is.
#[test]
fn it_has_every_part_of_the_deployment() {
    let compose = compose();
    assert_eq!(compose.name, "formledger");
    let services: Vec<&str> = compose.services.keys().map(String::as_str).collect();
    let expected =
        ["api-1", "api-2", "grafana", "migrate", "pgbouncer", "primary", "prometheus", "replica", "standby"];
    assert_eq!(services, expected);
}

#[test]
fn every_image_is_pinned_and_ours_is_built_with_the_pinned_rust() {
    let pinned = regex::Regex::new(r"^[a-z0-9./-]+:v?\d+\.\d+[0-9a-z.-]*$").expect("a valid pattern");
    for (name, service) in compose().services {
        assert!(pinned.is_match(&service.image), "{name}: `{}` names no exact version", service.image);
        if let Some(build) = service.build {
            assert!(repository().join(build.context).join(build.dockerfile).is_file(), "{name}");
        }
    }
    let version = pinned_rust();
    let dockerfile = fs::read_to_string(repository().join("Dockerfile")).expect("it is there");
    let mut bases = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
    assert!(bases.all(|base| pinned.is_match(base.split(' ').next().expect("a base"))), "{dockerfile}");
    assert!(
        dockerfile.contains(&format!("FROM rust:{version}-")),
        "the Dockerfile builds with Rust {version}"
    );
    for line in dockerfile.lines().filter_map(|line| line.strip_prefix("COPY --chmod=755 ")) {
        let source = line.split(' ').next().expect("what is copied");
        assert!(repository().join(source).is_file(), "{line}");
    }
}

#[test]
fn every_service_is_watched_and_waits_for_healthy_ones() {
    let compose = compose();
    for (name, service) in &compose.services {
        match &service.healthcheck {
            Some(check) => {
                assert!(check.test.len() > 1 && check.test[0] == "CMD", "{name}: {:?}", check.test)
            }
            None => assert!(runs_once(service), "{name} has no health check"),
        }
        assert!(runs_once(service) || service.restart == "unless-stopped", "{name}: {}", service.restart);
        for (needed, dependency) in &service.depends_on {
            let needed_service = compose.services.get(needed);
            let needed_service = needed_service.unwrap_or_else(|| panic!("{name} waits for `{needed}`"));
            let condition =
                if runs_once(needed_service) { "service_completed_successfully" } else { "service_healthy" };
            assert_eq!(dependency.condition, condition, "{name} waits for {needed}");
        }
    }
}

#[test]
fn every_volume_network_and_file_is_there_and_none_is_left_over() {
    let compose = compose();
    let (mut volumes, mut networks) = (BTreeSet::new(), BTreeSet::new());
    for (name, service) in &compose.services {
        networks.extend(service.networks.iter().cloned());
        for mount in &service.volumes {
            let (source, _) = mount.split_once(':').unwrap_or_else(|| panic!("{name}: {mount}"));
            if source.starts_with("./") {
                assert!(repository().join(source).exists(), "{name} mounts `{source}`");
                assert!(mount.ends_with(":ro"), "{name}: `{mount}` is ours and not to be written");
            } else {
                volumes.insert(source.to_owned());
            }
        }
        for script in
            service.entrypoint.iter().flatten().filter_map(|word| word.strip_prefix("/etc/formledger/"))
        {
            let mounted = service.volumes.iter().find_map(|mount| mount.strip_suffix(":/etc/formledger:ro"));
            let folder = mounted.unwrap_or_else(|| panic!("{name} mounts nothing at /etc/formledger"));
            assert!(repository().join(folder).join(script).is_file(), "{name}: {script}");
        }
        for port in &service.ports {
            assert!(port.starts_with("127.0.0.1:"), "{name}: `{port}` is open to other machines");
        }
    }
    assert!(volumes.iter().eq(compose.volumes.keys()), "{volumes:?}");
    assert!(networks.iter().eq(compose.networks.keys()), "{networks:?}");
    let database = &compose.networks["database"];
    assert!(database.internal, "databases have no way out");
}

/// The ledger's two servers differ in their names and data alone, so that each can be what the other is; and nothing needs one of them by its
/// name, because after a failover the former primary is down, maybe for good.
#[test]
fn either_server_of_the_ledger_can_be_its_primary() {
    let compose = compose();
    let [primary, standby] = ["primary", "standby"].map(|name| {
        let Service { mut environment, volumes, depends_on, .. } = compose.services[name].clone();
        assert_eq!(environment.remove("SERVER_NAME").as_deref(), Some(name));
        assert!(
            environment["LEDGER_PRIMARY"].starts_with("${LEDGER_PRIMARY:-"),
            "{name} is told which one is"
        );
        assert!(depends_on.is_empty(), "{name} waits for the other by itself");
        let others =
            volumes.into_iter().filter(|mount| *mount != format!("{name}-data:/var/lib/postgresql/data"));
        (environment, others.collect::<Vec<_>>())
    });
    assert_eq!(primary, standby);
    for (name, service) in &compose.services {
        for server in ["primary", "standby"] {
            let needed = service.depends_on.get(server).is_some_and(|dependency| dependency.required);
            assert!(!needed, "{name} does not start without `{server}`");
        }
    }
}

/// Passwords come from `.env`; the example names each and holds none.
#[test]
fn no_secret_is_written_down() {
    let text = text();
    let variable = regex::Regex::new(r"\$\{([A-Z_]+)(:[-?][^}]*)?\}").expect("a valid pattern");
    let used: BTreeSet<&str> =
        variable.captures_iter(&text).filter_map(|found| Some(found.get(1)?.as_str())).collect();
    let example = fs::read_to_string(repository().join(".env.example")).expect("there is an .env.example");
    let settings: BTreeMap<&str, &str> = example
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .collect();
    assert!(used.iter().eq(settings.keys()), "used {used:?}, in .env.example {settings:?}");
    let is_secret = |name: &str| ["PASSWORD", "SECRET"].iter().any(|word| name.ends_with(word));
    // One that may be missing, and is none then.
    let was_secret = |name: &str| name.ends_with("SECRET_PREVIOUS");
    for (name, value) in &settings {
        assert_eq!(value.is_empty(), is_secret(name) || was_secret(name), "{name}={value}");
    }
    for (service, settings) in
        compose().services.into_iter().map(|(name, service)| (name, service.environment))
    {
        for (name, value) in settings {
            let required = value.starts_with("${") && value.contains(":?");
            assert!(
                !is_secret(&name) || required,
                "{service}: {name} is taken from .env, and missing it is an error"
            );
            assert!(!was_secret(&name) || value.starts_with("${"), "{service}: {name} is taken from .env");
            let credentials = value.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
            assert!(
                !credentials.is_some_and(|(user, _)| user.contains(':')),
                "{service}: a password in {name}"
            );
        }
    }
    let ignored = fs::read_to_string(repository().join(".gitignore")).expect("there is a .gitignore");
    assert!(ignored.lines().any(|line| line == "/.env"), "git must never see .env");
    assert!(fs::read_to_string(repository().join(".dockerignore")).expect("there is one").contains(".env\n"));
}

#[tokio::test]
async fn what_the_nodes_are_told_is_what_the_binary_knows() {
    let installation = Installation::fresh();
    for (name, service) in compose().services.into_iter().filter(|(_, service)| service.build.is_some()) {
        // The image's own command is `serve`.
        let command = if service.command.is_empty() { vec!["serve".to_owned()] } else { service.command };
        let help = installation.run(&[&command[0], "--help"]).await.expect(0).stdout;
        for option in command.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(option.as_str()), "{name}: `formledger {}` has no {option}", command[0]);
        }
        for variable in service.environment.keys().filter(|name| name.starts_with("FORMLEDGER_")) {
            assert!(
                help.contains(&format!("[env: {variable}")),
                "{name}: {} reads no {variable}",
                command[0]
            );
        }
        assert!(service.security_opt.iter().any(|option| option == "no-new-privileges:true"), "{name}");
    }
}
