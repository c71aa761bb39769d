//! What must survive when the world breaks: the process killed under load, the disk full, the operator stopping the server; on Postgres also
//! the database killed, paused, cut off, slow and replaced by its standby. Each test drives the machine hard; `.config/nextest.toml` runs
//! them one at a time.

mod attachments;
mod campaign;
mod disk_full;
mod graceful;
mod history;
mod killed;
mod load;
mod site;
mod timers;
