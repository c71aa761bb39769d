-- The same as migrations/sqlite/read-models/0002_witnesses.sql.
CREATE TABLE witnesses (
    tenant_id  text COLLATE "C" NOT NULL,
    first_hash bytea,
    position   bigint NOT NULL,
    last_hash  bytea NOT NULL,

    CONSTRAINT witnesses_pkey PRIMARY KEY (tenant_id)
-- Half of each page stays free, so that a row moves within its page and no index is touched.
) WITH (fillfactor = 50);

COMMENT ON TABLE witnesses IS
    'Which ledger each tenant''s rows were made from, so that rows of another one, or of a history that was lost, are recognised.';
COMMENT ON COLUMN witnesses.first_hash IS
    'RFC 6962 leaf hash of the ledger''s first event, 32 bytes; NULL for rows that an earlier binary began.';
COMMENT ON COLUMN witnesses.position IS 'A position that the rows reflect, and in last_hash the leaf hash of the event there.';

GRANT SELECT, INSERT, UPDATE, DELETE ON witnesses TO formledger_projector;
GRANT SELECT ON witnesses TO formledger_reader;
ALTER TABLE witnesses ENABLE ROW LEVEL SECURITY;
CREATE POLICY witnesses_whole ON witnesses TO formledger_projector USING (true) WITH CHECK (true);
CREATE POLICY witnesses_of_tenant ON witnesses FOR SELECT TO formledger_reader
    USING (tenant_id = current_setting('app.tenant', true));
