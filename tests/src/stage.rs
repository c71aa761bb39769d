//! What almost every journey begins with: a running server and an administrator of the tenant `acme`.

use serde_json::Value;

use crate::client::Client;
use crate::installation::Installation;
use crate::server::Server;

/// A running installation with one tenant in sight.
#[derive(Debug)]
pub struct Stage {
    /// Its data and settings.
    pub installation: Installation,
    /// Its running server.
    pub server: Server,
    /// An administrator of `acme`.
    pub admin: Client,
}

impl Stage {
    /// A fresh installation, serving.
    pub async fn set() -> Self {
        Self::set_with(&[]).await
    }

    /// A fresh installation, serving with further options.
    pub async fn set_with(options: &[&str]) -> Self {
        Self::on(Installation::of_this_run().await, options).await
    }

    /// An installation of the test's choice, serving with further options.
    pub async fn on(installation: Installation, options: &[&str]) -> Self {
        let server = installation.serve_with(options).await;
        let admin = server.client(&installation.token("acme", "ada", "admin").await);
        Self { installation, server, admin }
    }

    /// The same with `form` published in `acme`.
    pub async fn with_form(form: &str, definition: &Value) -> Self {
        let stage = Self::set().await;
        stage.admin.publish(form, definition).await;
        stage
    }

    /// The same with the ledger in a file, whatever this run is about, for a test that reaches into the file.
    pub async fn on_files_with_form(form: &str, definition: &Value) -> Self {
        let stage = Self::on(Installation::fresh(), &[]).await;
        stage.admin.publish(form, definition).await;
        stage
    }

    /// Somebody of any tenant with any roles.
    pub async fn somebody(&self, tenant: &str, subject: &str, roles: &str) -> Client {
        self.server.client(&self.installation.token(tenant, subject, roles).await)
    }

    /// The position at which `acme`'s ledger ends.
    pub async fn head(&self) -> u64 {
        let ledger = self.admin.get("/v1/ledger").await.expect(200).json();
        ledger["position"].as_u64().expect("a position is a number")
    }
}
