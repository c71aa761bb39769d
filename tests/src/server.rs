//! A running `formledger serve`: knows its address, collects what it prints, ends by SIGTERM or by `kill -9`.
//! When a test fails, what the server wrote to standard error is part of the failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;

use crate::client::Client;
use crate::wait::within;

/// How much of the server's standard error a failure shows, in lines from its end.
const STDERR_LINES_SHOWN: usize = 60;

/// A server process; ends with the value.
#[derive(Debug)]
pub struct Server {
    process: Child,
    address: String,
    printed: watch::Receiver<Vec<String>>,
    stderr: PathBuf,
}

impl Server {
    /// Starts `command` and waits for the line `listening on http://…`.
    pub async fn start(mut command: Command, logs: &Path) -> Self {
        let (file, stderr) = tempfile::Builder::new()
            .prefix("stderr-")
            .tempfile_in(logs)
            .and_then(|file| file.keep().map_err(Into::into))
            .expect("a log file can be made");
        command.stdout(Stdio::piped()).stderr(file);
        let mut process = command.spawn().expect("the server's binary can be started");
        let printed = collect_lines(process.stdout.take().expect("standard output is piped"));
        let mut server = Self { process, address: String::new(), printed, stderr };
        let line = server.wait_for_line("listening on http://").await;
        let (_, address) = line.split_once("http://").expect("the line was found by this text");
        server.address = address.trim().trim_end_matches('/').to_owned();
        server
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A client without credential.
    pub fn anonymous(&self) -> Client {
        Client::new(&self.address)
    }

    /// A client that sends `token`.
    pub fn client(&self, token: &str) -> Client {
        self.anonymous().with_token(token)
    }

    /// The first printed line that contains `text`, waiting for it.
    ///
    /// # Panics
    /// When the server ends without having printed one.
    pub async fn wait_for_line(&mut self, text: &str) -> String {
        let wanted = |lines: &Vec<String>| lines.iter().any(|line| line.contains(text));
        let printed = within(&format!("the server to print `{text}`"), self.printed.wait_for(wanted)).await;
        let found = printed.ok().and_then(|lines| lines.iter().find(|line| line.contains(text)).cloned());
        found.unwrap_or_else(|| {
            panic!("the server ended without printing `{text}`; it wrote:\n{}", self.stderr_tail())
        })
    }

    /// All lines printed so far.
    pub fn printed(&self) -> Vec<String> {
        self.printed.borrow().clone()
    }

    /// Everything written to standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Pid {
        let id = self.process.id().expect("the server was not waited for yet");
        Pid::from_raw(i32::try_from(id).expect("Linux process ids fit")).expect("process ids are not zero")
    }

    /// `kill -9`: nothing in the process gets a chance to tidy up.
    pub async fn kill_9(mut self) {
        self.process.kill().await.expect("the server can be killed");
    }

    /// SIGTERM, without waiting for the end.
    pub fn ask_to_stop(&self) {
        kill_process(self.pid(), Signal::TERM).expect("the server still runs");
    }

    /// Waits for the process to end.
    pub async fn ended(&mut self) -> ExitStatus {
        within("the server to end", self.process.wait()).await.expect("the server can be waited for")
    }

    /// SIGTERM, and how it ended.
    pub async fn stop(mut self) -> ExitStatus {
        self.ask_to_stop();
        self.ended().await
    }

    fn stderr_tail(&self) -> String {
        let text = self.stderr();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(STDERR_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server's standard error, last lines:\n{}\n---", self.stderr_tail());
        }
    }
}

fn collect_lines(stdout: ChildStdout) -> watch::Receiver<Vec<String>> {
    let (sender, receiver) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            sender.send_modify(|printed| printed.push(line));
        }
    });
    receiver
}
