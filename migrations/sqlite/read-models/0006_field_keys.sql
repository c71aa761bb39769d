-- What submissions are found and sorted by, as one key of bytes instead of six columns: a third of the work for each row, and half the bytes.

-- One row per submission and field that its form version indexes; the table is its own index. Not filled in: the submissions are made again from
-- the ledger (version 2 of the projection), by which `submission_fields` is emptied; a process of an earlier version that still runs uses it.
CREATE TABLE field_keys (
    tenant_id        TEXT NOT NULL,
    -- Form, 00, pointer (RFC 6901; 00 as 01 01, 01 as 01 02), 00, and the value so that bytes are in its order: 00 no comparable value; 01 and a
    -- number, as 8 bytes; 02 and at most the first 1,024 bytes of a text.
    field_key        BLOB NOT NULL,
    -- The submission, as submissions.created_position.
    created_position INTEGER NOT NULL,

    CONSTRAINT field_keys_pkey PRIMARY KEY (tenant_id, field_key, created_position)
) STRICT, WITHOUT ROWID;
