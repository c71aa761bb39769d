-- The ledger: what happened, in order, for ever. Read models live in another database file.
-- Applied at open by store/src/sqlite/schema.rs. Never edit an applied migration: add the next number.
-- The columns up to `metadata` are the column contract of postgres-es, so that the same tables can exist in PostgreSQL; only SQLite's are built.

CREATE TABLE events (
    -- `Aggregate::TYPE` of the stream.
    aggregate_type TEXT NOT NULL,
    -- `<tenant>/<id>`, so that streams of two tenants can never be one.
    aggregate_id   TEXT NOT NULL,
    -- The place in the stream, from 1. Carries optimistic concurrency through events_pkey.
    sequence       INTEGER NOT NULL,
    -- Stored type without version, for example `formledger.submission.submitted`.
    event_type     TEXT NOT NULL,
    -- Version of the payload's shape, for example `1`.
    event_version  TEXT NOT NULL,
    -- What happened: RFC 8785 canonical JSON, hashed as stored.
    payload        TEXT NOT NULL,
    -- Who and what stands behind it: canonical JSON, strings only.
    metadata       TEXT NOT NULL,
    -- The ledger's owner.
    tenant_id      TEXT NOT NULL,
    -- The place in the ledger: 1, 2, 3, … without gaps. Leaf index of the Merkle tree + 1.
    position       INTEGER NOT NULL,
    -- UUID version 7, 16 bytes.
    event_id       BLOB NOT NULL,
    -- Microseconds since 1970-01-01T00:00:00Z; never decreases within a ledger.
    recorded_at    INTEGER NOT NULL,
    -- RFC 6962 leaf hash of the event's envelope, 32 bytes. See docs/proof.md.
    leaf_hash      BLOB NOT NULL,

    -- Rows stay in arrival order (a rowid table), so that payloads are written to warm pages; see docs/adr/0002.
    CONSTRAINT events_pkey PRIMARY KEY (aggregate_type, aggregate_id, sequence),
    CONSTRAINT events_position_key UNIQUE (tenant_id, position),
    CONSTRAINT events_sequence_check CHECK (sequence >= 1),
    CONSTRAINT events_position_check CHECK (position >= 1),
    CONSTRAINT events_event_id_check CHECK (length(event_id) = 16),
    CONSTRAINT events_leaf_hash_check CHECK (length(leaf_hash) = 32)
) STRICT;

CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are immutable: record a new event instead');
END;

CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are immutable: record a new event instead');
END;

CREATE TABLE ledgers (
    -- The ledger's owner.
    tenant_id   TEXT NOT NULL,
    -- Position of the newest event. An append compares and sets it.
    position    INTEGER NOT NULL,
    -- Microseconds since 1970-01-01T00:00:00Z of the newest event.
    recorded_at INTEGER NOT NULL,
    -- Roots of the perfect subtrees that make up the Merkle tree of `position` leaves, largest first, 32 bytes each.
    frontier    BLOB NOT NULL,

    CONSTRAINT ledgers_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT ledgers_position_check CHECK (position >= 1),
    CONSTRAINT ledgers_frontier_check CHECK (length(frontier) % 32 = 0)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER ledgers_refuse_delete BEFORE DELETE ON ledgers
BEGIN
    SELECT RAISE(ABORT, 'a ledger is never removed');
END;

CREATE TABLE idempotency (
    -- The tenant whose client chose the key.
    tenant_id       TEXT NOT NULL,
    -- The client's `Idempotency-Key`.
    idempotency_key TEXT NOT NULL,
    -- SHA-256 of the request, 32 bytes: the same key with another request is refused.
    request_hash    BLOB NOT NULL,
    -- What the first request was answered, JSON.
    outcome         TEXT NOT NULL,
    -- Position of the last event that the first request recorded.
    position        INTEGER NOT NULL,
    -- The stream's sequence after it.
    sequence        INTEGER NOT NULL,
    -- Microseconds since 1970-01-01T00:00:00Z. Nothing expires: a key is remembered as long as what it recorded.
    recorded_at     INTEGER NOT NULL,

    CONSTRAINT idempotency_pkey PRIMARY KEY (tenant_id, idempotency_key),
    CONSTRAINT idempotency_request_hash_check CHECK (length(request_hash) = 32)
) STRICT, WITHOUT ROWID;
