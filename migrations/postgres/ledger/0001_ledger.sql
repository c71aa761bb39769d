-- The ledger: what happened, in order, for ever. The same tables as migrations/sqlite/ledger/0001_ledger.sql.
-- Applied at open by store/src/postgres/schema.rs, in one transaction. Never edit an applied migration: add the next number.
-- Every unique key contains `tenant_id`, so that the tables can be distributed by tenant; see docs/adr/0005.

-- Roles belong to the whole cluster: another of its databases may have made them, or be making them now.
DO $roles$
DECLARE
    role_name text;
    -- Writer: appends, loads, changes nothing. Projector: reads every ledger. Reader: reads the tenant named in `app.tenant`.
    -- Further tables bring their own grants and policies for them.
BEGIN
    FOREACH role_name IN ARRAY ARRAY['formledger_writer', 'formledger_projector', 'formledger_reader'] LOOP
        IF to_regrole(role_name) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN
                    NULL;
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION '`%` may not create the role `%`: let an administrator run '
                        '`CREATE ROLE formledger_writer NOLOGIN; CREATE ROLE formledger_projector NOLOGIN; '
                        'CREATE ROLE formledger_reader NOLOGIN; '
                        'GRANT formledger_writer, formledger_projector, formledger_reader TO %I`',
                        current_user, role_name, current_user
                        USING ERRCODE = 'insufficient_privilege';
            END;
        END IF;
        IF NOT pg_has_role(current_user, role_name, 'USAGE') THEN
            BEGIN
                EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
            EXCEPTION
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION '`%` is no member of `%`: let an administrator run '
                        '`GRANT formledger_writer, formledger_projector, formledger_reader TO %I`',
                        current_user, role_name, current_user
                        USING ERRCODE = 'insufficient_privilege';
            END;
        END IF;
    END LOOP;
    EXECUTE format(
        'GRANT USAGE ON SCHEMA %I TO formledger_writer, formledger_projector, formledger_reader', current_schema());
END
$roles$;

-- The columns up to `metadata` are the column contract of postgres-es: a stock repository reads every stream.
CREATE TABLE events (
    aggregate_type text COLLATE "C" NOT NULL,
    aggregate_id   text COLLATE "C" NOT NULL,
    sequence       bigint NOT NULL,
    event_type     text COLLATE "C" NOT NULL,
    event_version  text COLLATE "C" NOT NULL,
    payload        json NOT NULL,
    metadata       json NOT NULL,
    tenant_id      text COLLATE "C" NOT NULL,
    position       bigint NOT NULL,
    event_id       uuid NOT NULL,
    recorded_at    bigint NOT NULL,
    leaf_hash      bytea NOT NULL,

    CONSTRAINT events_pkey PRIMARY KEY (aggregate_type, aggregate_id, sequence, tenant_id),
    CONSTRAINT events_position_key UNIQUE (tenant_id, position),
    CONSTRAINT events_sequence_check CHECK (sequence >= 1),
    CONSTRAINT events_position_check CHECK (position >= 1),
    CONSTRAINT events_leaf_hash_check CHECK (length(leaf_hash) = 32)
);

COMMENT ON TABLE events IS 'What happened. Rows are never changed and never removed.';
COMMENT ON COLUMN events.aggregate_type IS '`Aggregate::TYPE` of the stream.';
COMMENT ON COLUMN events.aggregate_id IS '`<tenant>/<id>`, so that streams of two tenants can never be one.';
COMMENT ON COLUMN events.sequence IS 'The place in the stream, from 1. Carries optimistic concurrency through events_pkey.';
COMMENT ON COLUMN events.event_type IS 'Stored type without version, for example `formledger.submission.submitted`.';
COMMENT ON COLUMN events.event_version IS 'Version of the payload''s shape, for example `1`.';
COMMENT ON COLUMN events.payload IS
    'What happened: RFC 8785 canonical JSON, hashed as stored; `json` keeps its bytes, `jsonb` would not.';
COMMENT ON COLUMN events.metadata IS 'Who and what stands behind it: canonical JSON, strings only.';
COMMENT ON COLUMN events.tenant_id IS 'The ledger''s owner.';
COMMENT ON COLUMN events.position IS
    'The place in the ledger: 1, 2, 3, … without gaps. Leaf index of the Merkle tree + 1.';
COMMENT ON COLUMN events.event_id IS 'UUID version 7.';
COMMENT ON COLUMN events.recorded_at IS
    'Microseconds since 1970-01-01T00:00:00Z; never decreases within a ledger.';
COMMENT ON COLUMN events.leaf_hash IS 'RFC 6962 leaf hash of the event''s envelope, 32 bytes. See docs/proof.md.';

CREATE TABLE ledgers (
    tenant_id   text COLLATE "C" NOT NULL,
    position    bigint NOT NULL,
    recorded_at bigint NOT NULL,
    frontier    bytea NOT NULL,

    CONSTRAINT ledgers_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT ledgers_position_check CHECK (position >= 1),
    CONSTRAINT ledgers_frontier_check CHECK (length(frontier) % 32 = 0)
-- Half of each page stays free, so that a head moves within its page and no index is touched.
) WITH (fillfactor = 50);

COMMENT ON TABLE ledgers IS 'Where each ledger ends. An append compares and sets its row.';
COMMENT ON COLUMN ledgers.tenant_id IS 'The ledger''s owner.';
COMMENT ON COLUMN ledgers.position IS 'Position of the newest event. An append compares and sets it.';
COMMENT ON COLUMN ledgers.recorded_at IS 'Microseconds since 1970-01-01T00:00:00Z of the newest event.';
COMMENT ON COLUMN ledgers.frontier IS
    'Roots of the perfect subtrees that make up the Merkle tree of `position` leaves, largest first, 32 bytes each.';

CREATE TABLE idempotency (
    tenant_id       text COLLATE "C" NOT NULL,
    idempotency_key text COLLATE "C" NOT NULL,
    request_hash    bytea NOT NULL,
    outcome         text NOT NULL,
    position        bigint NOT NULL,
    sequence        bigint NOT NULL,
    recorded_at     bigint NOT NULL,

    CONSTRAINT idempotency_pkey PRIMARY KEY (tenant_id, idempotency_key),
    CONSTRAINT idempotency_request_hash_check CHECK (length(request_hash) = 32)
);

COMMENT ON TABLE idempotency IS
    'First outcomes. Nothing expires: a key is remembered as long as what it recorded.';
COMMENT ON COLUMN idempotency.tenant_id IS 'The tenant whose client chose the key.';
COMMENT ON COLUMN idempotency.idempotency_key IS 'The client''s `Idempotency-Key`.';
COMMENT ON COLUMN idempotency.request_hash IS
    'SHA-256 of the request, 32 bytes: the same key with another request is refused.';
COMMENT ON COLUMN idempotency.outcome IS 'What the first request was answered, JSON.';
COMMENT ON COLUMN idempotency.position IS 'Position of the last event that the first request recorded.';
COMMENT ON COLUMN idempotency.sequence IS 'The stream''s sequence after it.';
COMMENT ON COLUMN idempotency.recorded_at IS 'Microseconds since 1970-01-01T00:00:00Z.';

-- Privileges first: nobody but the owner and superusers can change or remove a row.
GRANT SELECT ON _sqlx_migrations TO formledger_writer, formledger_projector, formledger_reader;
GRANT SELECT ON events, ledgers TO formledger_writer, formledger_projector, formledger_reader;
GRANT SELECT ON idempotency TO formledger_writer, formledger_reader;
GRANT INSERT ON events, ledgers, idempotency TO formledger_writer;
GRANT UPDATE (position, recorded_at, frontier) ON ledgers TO formledger_writer;

-- Then triggers, for owner and superusers. Citus takes none on distributed tables: drop them before distributing.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $refuse$
BEGIN
    RAISE EXCEPTION '% of % is refused: %', lower(TG_OP), TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END
$refuse$;
COMMENT ON FUNCTION refuse_change() IS 'Refuses the statement, with the trigger''s argument as the reason.';

CREATE TRIGGER events_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('events are immutable, record a new event instead');
CREATE TRIGGER ledgers_refuse_delete BEFORE DELETE OR TRUNCATE ON ledgers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('a ledger is never removed');

-- The reader sees one tenant: the one its transaction names. Without a name it sees nothing.
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledgers ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency ENABLE ROW LEVEL SECURITY;

CREATE POLICY events_whole ON events TO formledger_writer, formledger_projector USING (true) WITH CHECK (true);
CREATE POLICY events_of_tenant ON events FOR SELECT TO formledger_reader
    USING (tenant_id = current_setting('app.tenant', true));
CREATE POLICY ledgers_whole ON ledgers TO formledger_writer, formledger_projector USING (true) WITH CHECK (true);
CREATE POLICY ledgers_of_tenant ON ledgers FOR SELECT TO formledger_reader
    USING (tenant_id = current_setting('app.tenant', true));
CREATE POLICY idempotency_whole ON idempotency TO formledger_writer USING (true) WITH CHECK (true);
CREATE POLICY idempotency_of_tenant ON idempotency FOR SELECT TO formledger_reader
    USING (tenant_id = current_setting('app.tenant', true));
