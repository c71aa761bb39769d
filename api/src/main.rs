//! The `formledger` program: reads the command line, runs one command, turns failures into exit statuses.
//! Everything it does lives in the library, so that tests start the same application.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A submission is allocated piece by piece on one thread and freed on another; with glibc's allocator it costs about a fifth more CPU
/// (docs/benchmarks-notebook.md). It asks for no huge pages: a process that has just started costs a tenth more with them.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    formledger_api::cli::run()
}
