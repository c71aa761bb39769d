-- What submissions are found and sorted by, as one key of bytes instead of six columns. The same as
-- migrations/sqlite/read-models/0006_field_keys.sql; conventions as in 0001.

CREATE TABLE field_keys (
    tenant_id        text COLLATE "C" NOT NULL,
    field_key        bytea NOT NULL,
    created_position bigint NOT NULL,

    CONSTRAINT field_keys_pkey PRIMARY KEY (tenant_id, field_key, created_position)
);

COMMENT ON TABLE field_keys IS 'One row per submission and field that its form version indexes.';
COMMENT ON COLUMN field_keys.field_key IS
    'Form, 00, pointer (RFC 6901; 00 as 01 01, 01 as 01 02), 00, and the value so that bytes are in its order: 00 no comparable value; '
    '01 and a number, as 8 bytes; 02 and at most the first 1,024 bytes of a text.';
COMMENT ON COLUMN field_keys.created_position IS 'The submission, as submissions.created_position.';
COMMENT ON TABLE submission_fields IS 'Where version 1 of the submissions projection kept what is in field_keys now.';

GRANT SELECT, INSERT, UPDATE, DELETE ON field_keys TO formledger_projector;
GRANT SELECT ON field_keys TO formledger_reader;
ALTER TABLE field_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY field_keys_whole ON field_keys TO formledger_projector USING (true) WITH CHECK (true);
CREATE POLICY field_keys_of_tenant ON field_keys FOR SELECT TO formledger_reader
    USING (tenant_id = current_setting('app.tenant', true));
