//! Real Postgres servers for tests: a database of one's own on a server that all tests share ([`Database`]), and servers of one's own to
//! hurt ([`Postgres`]): primaries, streaming standbys, `kill -9`, pauses, cut connections ([`Proxy`]), full disks, slow commits.
//! Called by the tests of `store`, `projections` and `tests`; knows nothing of the product. Linux only, as it asks `/proc`.
//!
//! **Where they come from.** The distribution's binaries; a machine without them fails the test (never skips it), and `tests/run` installs
//! them. Postgres refuses root, so root's tests run it as the user `postgres`, or `nobody`.
//!
//! **Why a shared server.** nextest runs each test in a process of its own. Making and starting a server costs 0.9 s, a database on one that
//! runs 0.05 s. So the first test to ask starts one, each test process holds a lease on it (a shared file lock, which the kernel takes
//! back however the process ends), and a guard ends it some seconds after the last lease. That needs no setup step: a test
//! started alone with `cargo test` does the same. A server that a test hurts is always the test's own.
//!
//! **Nothing stays behind.** Beside each server of a test waits a guard, a shell that reads from a pipe the test process holds: when the
//! pipe closes, because the value was dropped or the process was killed, the guard ends the server and removes its folder. (The kernel's
//! parent-death signal is no substitute: it comes when the *thread* ends that started the server.)

mod backup;
mod binaries;
pub mod disk;
mod faults;
mod guard;
mod postgres;
mod proxy;
mod shared;
mod standby;

pub use faults::COMMIT_DELAY_MAX;
pub use postgres::{Postgres, Settings, Shutdown};
pub use proxy::Proxy;
pub use shared::Database;
