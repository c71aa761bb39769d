//! Programs of the machine that tests run: what the pages give to paste is run by what readers have. Asked before a test starts one.

use tokio::process::Command;

/// Fails where `program` is not there. A test that passed without having run it would say that it works.
pub async fn required(program: &str) {
    let package = if program == "node" { "nodejs" } else { program };
    let found = Command::new(program).arg("--version").output().await;
    if let Err(error) = found {
        panic!(
            "this test runs `{program}`, which cannot be started ({error}): install it (Debian: `apt-get install {package}`), as \
             `tests/run` does"
        );
    }
}
