//! Rounds of faults under load on Postgres: nodes, primary, standby and the network between them break in every way, in an order that a seed
//! decides, and after each round the ledgers are held to their promises. docs/faults.md is the report and says how to run many rounds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use formledger_test_cluster::{COMMIT_DELAY_MAX, Shutdown};
use formledger_tests::Client;
use formledger_tests::definitions::expense_claim;
use formledger_tests::wait::within;

use crate::history::History;
use crate::killed::{assert_every_acknowledged_once, read_models, shown};
use crate::load::{Acknowledged, Load};
use crate::site::Site;

/// Two ledgers, so that one could show up in the other.
const TENANTS: [&str; 2] = ["acme", "other"];
/// Clients of each tenant that submit at the same time.
const CLIENTS: usize = 6;
/// The most submissions of a tenant acknowledged between two faults; some faults come right after the first.
const ACKNOWLEDGED_BETWEEN_FAULTS_MAX: usize = 60;
/// The longest that something stays away, in milliseconds.
const AWAY_MS_MAX: u64 = 1500;
/// Rounds on one site; then its read models are compared with a rebuild, and a new site begins.
const ROUNDS_PER_SITE: usize = 2 * FAULTS.len();
/// What a plain run of the test does; `FAULT_ROUNDS` asks for more.
const ROUNDS: usize = ROUNDS_PER_SITE;
/// How far behind a standby is that commits do not wait for, taken in turn: the delay of the way there.
const STANDBY_BEHIND: [Duration; 3] = [Duration::from_millis(100), Duration::ZERO, Duration::from_millis(20)];
const ACKNOWLEDGED_BEFORE_FAILOVER: usize = 500;
/// Failovers to a standby that commits did not wait for, in a plain run; `FAULT_FAILOVERS` asks for more.
const FAILOVERS: usize = 1;

/// What breaks.
#[derive(Debug, Clone, Copy)]
enum Fault {
    NodeKilled,
    PrimaryKilled,
    PrimaryStopped,
    PrimaryPaused,
    StandbyKilled,
    StandbyCutOff,
    ConnectionsCut,
    ConnectionsRefused,
    NetworkSilent,
    Slow,
    FailOver,
}

const FAULTS: [Fault; 11] = [
    Fault::NodeKilled,
    Fault::PrimaryKilled,
    Fault::PrimaryStopped,
    Fault::PrimaryPaused,
    Fault::StandbyKilled,
    Fault::StandbyCutOff,
    Fault::ConnectionsCut,
    Fault::ConnectionsRefused,
    Fault::NetworkSilent,
    Fault::Slow,
    Fault::FailOver,
];

impl Fault {
    /// Breaks it and mends it again, for as long as chance says.
    async fn strike(self, site: &mut Site) {
        match self {
            Self::NodeKilled => site.kill_node().await,
            Self::PrimaryKilled => {
                site.primary.kill_9().await;
                away().await;
                site.primary.start_again().await;
            }
            Self::PrimaryStopped => {
                site.primary.stop(Shutdown::Fast).await;
                site.primary.start_again().await;
            }
            Self::PrimaryPaused => {
                site.primary.pause();
                away().await;
                site.primary.resume();
            }
            Self::StandbyKilled => {
                site.standby.kill_9().await;
                away().await;
                site.standby.start_again().await;
            }
            Self::StandbyCutOff => {
                site.standby.upstream().refuse();
                away().await;
                site.standby.upstream().heal();
            }
            Self::ConnectionsCut => site.network.cut(),
            Self::ConnectionsRefused => {
                site.network.refuse();
                away().await;
                site.network.heal();
            }
            Self::NetworkSilent => {
                site.network.hold();
                away().await;
                site.network.heal();
            }
            Self::Slow => {
                site.slow(COMMIT_DELAY_MAX / 2).await;
                away().await;
                site.network.heal();
                site.primary.slow_commits(Duration::ZERO).await;
            }
            Self::FailOver => {
                site.primary.kill_9().await;
                site.take_over().await;
                site.bring_the_former_primary_back().await;
            }
        }
        site.start_nodes().await;
    }
}

async fn away() {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=AWAY_MS_MAX))).await;
}

/// One tenant's clients, and what is known of its ledger.
struct Tenant {
    name: &'static str,
    token: String,
    load: Load,
    history: History,
}

impl Tenant {
    async fn start(name: &'static str, site: &Site) -> Self {
        let token = site.token(name).await;
        site.clients(&token)[0].publish("expense", &expense_claim()).await;
        let load = Load::named(name, CLIENTS);
        load.direct_to_any(site.clients(&token));
        Self { name, token, load, history: History::of(name) }
    }

    fn client(&self, site: &Site) -> Client {
        site.clients(&self.token).remove(0)
    }

    /// Everything acknowledged by now is in the ledger, which has no gap and nothing twice.
    async fn check(&mut self, site: &Site) {
        let acknowledged = self.load.acknowledged();
        self.history.advance(&self.client(site)).await;
        let missing = self.history.missing(&acknowledged);
        assert!(missing.is_empty(), "{}: acknowledged and not there: {missing:?}", self.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_servers_or_network_loses_or_repeats_what_was_acknowledged() {
    let rounds = asked("FAULT_ROUNDS").unwrap_or(ROUNDS);
    let seed = asked("FAULT_SEED").map_or_else(|| fastrand::u64(..), |seed| seed as u64);
    fastrand::seed(seed);
    println!("{rounds} rounds, FAULT_SEED={seed}");
    let mut done = 0;
    while done < rounds {
        let faults = order((rounds - done).min(ROUNDS_PER_SITE));
        run_site(&faults, done).await;
        done += faults.len();
    }
}

/// Every fault as often as the others, in an order by chance.
fn order(rounds: usize) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::with_capacity(rounds);
    while faults.len() < rounds {
        let mut all = FAULTS;
        fastrand::shuffle(&mut all);
        faults.extend(all);
    }
    faults.truncate(rounds);
    faults
}

async fn run_site(faults: &[Fault], done: usize) {
    let mut site = Site::start(true).await;
    let mut tenants = Vec::new();
    for name in TENANTS {
        tenants.push(Tenant::start(name, &site).await);
    }
    for (round, fault) in faults.iter().enumerate() {
        for tenant in &mut tenants {
            tenant.load.acknowledges(fastrand::usize(1..=ACKNOWLEDGED_BETWEEN_FAULTS_MAX)).await;
        }
        let began = Instant::now();
        fault.strike(&mut site).await;
        let mended = Instant::now();
        for tenant in &mut tenants {
            tenant.load.direct_to_any(site.clients(&tenant.token));
            // One per client and one more: at least one of them began after the fault.
            tenant.load.acknowledges(CLIENTS + 1).await;
        }
        let again = mended.elapsed();
        for tenant in &mut tenants {
            tenant.check(&site).await;
        }
        println!(
            "round {}: {fault:?}, {:?}, all served {again:?} after it",
            done + round + 1,
            mended - began
        );
    }
    finish(site, tenants).await;
}

/// The ledgers verify, and the read models of every node are what a rebuild makes of them.
async fn finish(site: Site, tenants: Vec<Tenant>) {
    let mut said = Vec::new();
    for Tenant { name, token, load, mut history } in tenants {
        let acknowledged = load.finish().await;
        let clients = site.clients(&token);
        history.advance(&clients[0]).await;
        assert!(history.missing(&acknowledged).is_empty());
        assert_eq!(history.submissions(), acknowledged.len(), "{name}: begun is answered in the end");
        for client in &clients {
            assert_every_acknowledged_once(client, history.head(), &acknowledged).await;
            said.push((token.clone(), history.head(), read_models(client, history.head()).await));
        }
        println!("{name}: {} submissions acknowledged, all there, once", acknowledged.len());
    }
    assert_as_rebuilt(site, said).await;
}

/// What read models say: to whom, at which position, and what.
type Said = Vec<(String, u64, Vec<String>)>;

/// The ledgers verify, and read models that are built anew say the same.
async fn assert_as_rebuilt(mut site: Site, said: Said) {
    site.stop_nodes().await;
    for (node, installation) in site.installations().enumerate() {
        if node == 0 {
            installation.run(&["verify"]).await.expect(0);
        }
        installation.run(&["rebuild"]).await.expect(0);
    }
    site.start_nodes().await;
    for (token, head, before) in said {
        for client in site.clients(&token) {
            let after = read_models(&client, head).await;
            assert!(before == after, "the read models differ from a rebuild:\n{before:#?}\n{after:#?}");
        }
    }
}

/// With a standby that commits do not wait for, a failover may lose the newest submissions, and nothing else: what is left has no gap,
/// verifies and goes on. Prints how many were lost and how old the oldest of them was: the window.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_an_asynchronous_standby_loses_the_newest_submissions_at_most() {
    for failover in 0..asked("FAULT_FAILOVERS").unwrap_or(FAILOVERS) {
        let behind = STANDBY_BEHIND[failover % STANDBY_BEHIND.len()];
        let mut site = Site::start(false).await;
        site.standby.upstream().delay(behind);
        let mut tenant = Tenant::start("acme", &site).await;
        tenant.load.acknowledges(ACKNOWLEDGED_BEFORE_FAILOVER).await;
        let died = tokio::time::Instant::now();
        // With the machine goes what was still on its way.
        site.standby.upstream().refuse();
        site.primary.kill_9().await;
        // Nothing is acknowledged from here on until the standby has taken over.
        let acknowledged = tenant.load.acknowledged();
        site.take_over().await;
        tenant.load.acknowledges(CLIENTS + 1).await;
        let lost = assert_only_the_newest_are_lost(&mut tenant, &site, &acknowledged).await;
        let answered = lost.iter().filter_map(|key| tenant.load.answered_at(key)).min();
        let window = answered.map_or(Duration::ZERO, |answered| died.saturating_duration_since(answered));
        println!(
            "standby {behind:?} behind: {} of {} lost, the oldest {window:?} before",
            lost.len(),
            acknowledged.len()
        );
        finish_failover(site, tenant, &lost).await;
    }
}

/// The keys that were acknowledged and are lost, which are the last ones of `acknowledged`.
async fn assert_only_the_newest_are_lost(
    tenant: &mut Tenant,
    site: &Site,
    acknowledged: &BTreeMap<String, Acknowledged>,
) -> BTreeSet<String> {
    tenant.history.advance(&tenant.client(site)).await;
    let missing = tenant.history.missing(acknowledged);
    let lost_from = missing.iter().map(|(_, lost)| lost.position).min().unwrap_or(u64::MAX);
    let lost: BTreeSet<String> = missing.into_iter().map(|(key, _)| key.to_owned()).collect();
    let mut kept = acknowledged.iter().filter(|(key, _)| !lost.contains(*key));
    assert!(kept.all(|(_, kept)| kept.position < lost_from), "only the newest are lost");
    assert!(lost.len() < acknowledged.len(), "all were lost");
    lost
}

/// What the ledger says now is what the nodes come to show by themselves, which run all the while, and what a rebuild shows.
async fn finish_failover(site: Site, tenant: Tenant, lost: &BTreeSet<String>) {
    let Tenant { token, load, mut history, .. } = tenant;
    let mut acknowledged = load.finish().await;
    acknowledged.retain(|key, _| !lost.contains(key));
    let mut said = Vec::new();
    for client in site.clients(&token) {
        history.advance(&client).await;
        within("a node shows what is left of the ledger", async {
            // Rows of what was lost may still be there for a moment, until the node has compared them.
            while shown(&client, history.head()).await != acknowledged {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        said.push((token.clone(), history.head(), read_models(&client, history.head()).await));
    }
    assert_as_rebuilt(site, said).await;
}

/// A number from the environment.
fn asked(name: &str) -> Option<usize> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
