//! The deployment in docker-compose.yml, held to its shape by a parser and exercised outside of containers: the same configuration files and
//! scripts, with the distribution's Postgres, PgBouncer and promtool. Also backup and restore, and that what operators are told of exists.

mod backup;
mod compose;
mod failover;
mod monitoring;
mod parts;
mod pooler;
mod profile;
mod servers;
