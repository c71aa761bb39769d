-- First outcomes in order of arrival, as events are, with the keys in an index of their own: keys are random, and as the rows' own key
-- every batch rewrote as many pages as it had commands, rows and all. Only SQLite: Postgres keeps rows in a heap, so it has no migration 0002.

CREATE TABLE idempotency_by_arrival (
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
) STRICT;

INSERT INTO idempotency_by_arrival SELECT * FROM idempotency;

DROP TABLE idempotency;

ALTER TABLE idempotency_by_arrival RENAME TO idempotency;
