//! The `formledger` program: reads the command line, runs one command, turns failures into exit statuses.
//! Everything it does lives in the library, so that tests start the same application.

use std::process::ExitCode;

// The program's `malloc`, SQLite's and ours: a submission is allocated piece by piece on one thread and freed on another, and costs a fifth more CPU
// with glibc's (docs/benchmarks-notebook.md). It is not named as the global allocator, because that asks for every piece by its alignment: most
// sizes are then found the slow way, in the next larger class.
use mimalloc as _;

fn main() -> ExitCode {
    formledger_api::cli::run()
}
