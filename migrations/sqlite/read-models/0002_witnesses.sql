-- Which ledger each tenant's rows were made from, so that rows of another one, or of a history that was lost, are recognised.
CREATE TABLE witnesses (
    tenant_id  TEXT NOT NULL,
    -- RFC 6962 leaf hash of the ledger's first event, 32 bytes; NULL for rows that an earlier binary began.
    first_hash BLOB,
    -- A position that the rows reflect, and the leaf hash of the event there.
    position   INTEGER NOT NULL,
    last_hash  BLOB NOT NULL,

    CONSTRAINT witnesses_pkey PRIMARY KEY (tenant_id)
) STRICT, WITHOUT ROWID;
