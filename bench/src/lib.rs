//! Benchmarks of Formledger from outside: everything here talks HTTP or reads `/proc`, nothing links the server.
//!
//! Read in this order: what is sent (`template`, `request`, `connection`), when (`schedule`, `pacer`), what came of it
//! (`load`, `sample`, `percentile`, `check`), what it cost (`process_cpu`, `cores`), and who is compared
//! (`contestant` with its `database` and `token`s, `compare`, `figures`, `history`, `requests` with their `review` form, `floor`). `cli` maps arguments onto these.
//!
//! Nothing here is a timed test: the tests check the arithmetic, never the speed of the machine.

pub mod template;

pub mod request;

pub mod connection;

pub mod schedule;

pub mod pacer;

pub mod sample;

pub mod percentile;

pub mod check;

pub mod process_cpu;

pub mod cores;

pub mod machine;

pub mod load;

pub mod report;

pub mod database;

pub mod token;

pub mod contestant;

pub mod compare;

pub mod figures;

pub mod history;

pub mod requests;

pub mod review;

pub mod floor;

pub mod cli;
