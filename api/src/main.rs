//! The `formledger` program: reads the command line, runs one command, turns failures into exit statuses.
//! Everything it does lives in the library, so that tests start the same application.

use std::process::ExitCode;

fn main() -> ExitCode {
    formledger_api::cli::run()
}
