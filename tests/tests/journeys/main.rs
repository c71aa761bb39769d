//! What people and systems do with the product, over HTTP and the command line, one file per promise.
//! Every test starts its own server on its own data; nothing private is imported.

mod attachments;
mod audit;
mod bad_input;
mod bulk;
mod cli;
mod credentials;
mod demo;
mod drafts;
mod exports;
mod feed;
mod form_roles;
mod forms;
mod history;
mod hot_reload;
mod idempotency;
mod isolation;
mod operations;
mod past_answers;
mod permit;
mod postgres;
mod proof;
mod queries;
mod reminders;
mod replays;
mod replicas;
mod schemas;
mod stats;
mod submissions;
mod tasks;
mod tenants;
mod time_travel;
mod timeline;
mod tools;
mod va_forms;
mod workflow;
