-- Roles and database, once, at a server's first start; run by psql as superuser in the environment of docker-compose.yml.
-- What each may do with tables is in migrations/postgres/: the three roles without login hold the privileges, logins are their members.
\getenv owner_password OWNER_PASSWORD
\getenv app_password APP_PASSWORD
\getenv database LEDGER_DATABASE
-- Where a standby follows.
\getenv replication_password REPLICATION_PASSWORD

CREATE ROLE formledger_writer NOLOGIN;
-- Exempt from policies, which all say `true` for it, so that it may write by COPY (docs/adr/0011).
CREATE ROLE formledger_projector NOLOGIN BYPASSRLS;
CREATE ROLE formledger_reader NOLOGIN;

-- Owns the database and makes its tables; `formledger migrate` logs in with it, nothing that serves requests does.
CREATE ROLE formledger_owner LOGIN PASSWORD :'owner_password' CONNECTION LIMIT 10;
GRANT formledger_writer, formledger_projector, formledger_reader TO formledger_owner;

-- The API nodes: owns nothing, and takes on one of the three roles in each transaction. Outside of these it may do nothing, because it inherits
-- nothing: a statement that forgot its role is refused, where it would have the rights of all three.
CREATE ROLE formledger_app LOGIN NOINHERIT PASSWORD :'app_password';
GRANT formledger_writer, formledger_projector, formledger_reader TO formledger_app;

CREATE DATABASE :"database" OWNER formledger_owner ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0;
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO formledger_app;
\connect :"database"
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT ALL ON SCHEMA public TO formledger_owner;

\if :{?replication_password}
-- The standbys' login, which also makes the slot of each (start.sh), and the one that takes base backups.
CREATE ROLE formledger_replicator LOGIN REPLICATION PASSWORD :'replication_password' CONNECTION LIMIT 10;
\endif
