//! What the campaign breaks: a primary and its standby, the address under which nodes reach whichever is primary, and two nodes.

use std::time::Duration;

use formledger_test_cluster::{Postgres, Proxy, Settings};
use formledger_tests::{Client, Installation, Server};

/// Nodes on one database.
const NODES: usize = 2;

/// Everything of one deployment.
pub struct Site {
    /// The server that takes writes.
    pub primary: Postgres,
    /// The server that follows it.
    pub standby: Postgres,
    /// What stands between the nodes and the primary.
    pub network: Proxy,
    nodes: Vec<Node>,
}

struct Node {
    installation: Installation,
    /// `None` between a kill and the next start.
    server: Option<Server>,
}

impl Site {
    /// A new one; `synchronous` makes commits wait for the standby.
    pub async fn start(synchronous: bool) -> Self {
        let primary = Postgres::start_with(Settings::default()).await;
        // As deploy/postgres/roles.sql has it: new rows of read models come by COPY.
        primary.execute("CREATE ROLE formledger_projector NOLOGIN BYPASSRLS").await;
        let url = primary.create_database("ledger").await;
        let standby = primary.standby().await;
        if synchronous {
            primary.commit_with(&standby).await;
        }
        let network = Proxy::to(primary.port());
        let url = url.replace(&format!(":{}/", primary.port()), &format!(":{}/", network.port()));
        let mut nodes = Vec::with_capacity(NODES);
        for _ in 0..NODES {
            let installation = Installation::fresh().with("DATABASE_URL", &*url);
            let server = Some(installation.serve().await);
            nodes.push(Node { installation, server });
        }
        Self { primary, standby, network, nodes }
    }

    /// A token for the tenant's administrator.
    pub async fn token(&self, tenant: &str) -> String {
        self.nodes[0].installation.token(tenant, "ada", "admin").await
    }

    /// Clients of all nodes that run.
    pub fn clients(&self, token: &str) -> Vec<Client> {
        self.nodes.iter().filter_map(|node| Some(node.server.as_ref()?.client(token))).collect()
    }

    /// `kill -9` of a node, any.
    pub async fn kill_node(&mut self) {
        let node = &mut self.nodes[fastrand::usize(..NODES)];
        if let Some(server) = node.server.take() {
            server.kill_9().await;
        }
    }

    /// Starts the nodes that do not run.
    pub async fn start_nodes(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.server.is_none()) {
            node.server = Some(node.installation.serve().await);
        }
    }

    /// Stops all nodes in good order.
    pub async fn stop_nodes(&mut self) {
        for server in self.nodes.iter_mut().filter_map(|node| node.server.take()) {
            assert!(server.stop().await.success());
        }
    }

    /// The nodes' installations, for commands.
    pub fn installations(&self) -> impl Iterator<Item = &Installation> {
        self.nodes.iter().map(|node| &node.installation)
    }

    /// The standby takes over at the address of the primary, which has died.
    pub async fn take_over(&mut self) {
        self.standby.promote().await;
        self.network.lead_to(self.standby.port());
        std::mem::swap(&mut self.primary, &mut self.standby);
    }

    /// What was the primary follows the one that took over, and commits wait for it.
    pub async fn bring_the_former_primary_back(&mut self) {
        self.standby.follow(&self.primary).await;
        self.primary.commit_with(&self.standby).await;
    }

    /// Everything arrives late and commits are slow.
    pub async fn slow(&self, delay: Duration) {
        self.network.delay(delay);
        self.primary.slow_commits(delay).await;
    }
}
