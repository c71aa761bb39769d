//! What must survive when the world breaks: the process killed under load, the disk full, the operator stopping the server.
//! Each test drives the machine hard; `.config/nextest.toml` runs them one at a time.

mod disk_full;
mod graceful;
mod killed;
mod load;
