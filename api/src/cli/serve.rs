//! `formledger serve`: the server, until SIGTERM or SIGINT.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{Api, App};
use crate::config::ServeArgs;
use crate::logging;

/// Serves; prints one line when it is ready.
pub fn serve(arguments: &ServeArgs) -> anyhow::Result<ExitCode> {
    let settings = arguments.settings()?;
    logging::start(&arguments.storage.log)?;
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        let hangups = signal(SignalKind::hangup())?;
        let app = App::build(settings).await?;
        let reading = tokio::spawn(read_keys_at(hangups, Arc::clone(app.api())));
        say(&format!("listening on http://{}", app.address()));
        app.run(stop).await;
        reading.abort();
        Ok(ExitCode::SUCCESS)
    })
}

/// Prints a line for whoever started the program. That nobody reads it any more is no reason to stop what it does, so `println` will not do.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The runtime of every command that touches the ledger: a worker per core.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Reads keys again at each SIGHUP, by which servers are told to do so; it ends no server.
async fn read_keys_at(mut hangups: Signal, api: Arc<Api>) {
    while hangups.recv().await.is_some() {
        api.authenticator.read_keys_again().await;
    }
}

/// Ready at the first SIGTERM or SIGINT. Registered before the application starts, so that no signal finds the default handler.
pub fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
