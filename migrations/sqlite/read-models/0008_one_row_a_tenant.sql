-- How far all projections have come in a ledger, and which ledger that is, in one row a tenant: each batch moves this row for every tenant that it has
-- events of. A process of an earlier version neither reads nor writes rows from here on.
ALTER TABLE checkpoints RENAME TO earlier_checkpoints;
DROP INDEX checkpoints_one_version_key;

CREATE TABLE checkpoints (
    tenant_id            TEXT NOT NULL,
    -- Version of the projection's code; NULL while it made nothing. Rows of another version are dropped by who keeps them.
    forms_version        INTEGER,
    -- The last ledger position that the rows reflect; committed together with them.
    forms_position       INTEGER NOT NULL DEFAULT 0,
    submissions_version  INTEGER,
    submissions_position INTEGER NOT NULL DEFAULT 0,
    statistics_version   INTEGER,
    statistics_position  INTEGER NOT NULL DEFAULT 0,
    tasks_version        INTEGER,
    tasks_position       INTEGER NOT NULL DEFAULT 0,
    -- Which ledger the rows were made from, so that rows of another one, or of a history that was lost, are recognised: a position that they reflect,
    -- the leaf hash of the event there, and the RFC 6962 leaf hash of the first event, 32 bytes; NULL where nothing was noted, or an earlier binary began.
    reflected_position   INTEGER,
    reflected_hash       BLOB,
    first_hash           BLOB,
    -- What is to be added to state_counts, day_counts and outcome_counts, JSON: arrays of their columns behind the tenant; NULL for nothing.
    uncounted            TEXT,
    -- Why a projection is parked before an event that cannot be applied; NULL while it follows.
    forms_error          TEXT,
    submissions_error    TEXT,
    statistics_error     TEXT,
    tasks_error          TEXT,

    CONSTRAINT checkpoints_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT checkpoints_position_check
        CHECK (forms_position >= 0 AND submissions_position >= 0 AND statistics_position >= 0 AND tasks_position >= 0),
    CONSTRAINT checkpoints_reflected_check CHECK ((reflected_position IS NULL) = (reflected_hash IS NULL))
) STRICT, WITHOUT ROWID;

INSERT INTO checkpoints
SELECT c.tenant_id,
       max(version) FILTER (WHERE projection = 'forms'), coalesce(max(c.position) FILTER (WHERE projection = 'forms'), 0),
       max(version) FILTER (WHERE projection = 'submissions'), coalesce(max(c.position) FILTER (WHERE projection = 'submissions'), 0),
       max(version) FILTER (WHERE projection = 'statistics'), coalesce(max(c.position) FILTER (WHERE projection = 'statistics'), 0),
       max(version) FILTER (WHERE projection = 'tasks'), coalesce(max(c.position) FILTER (WHERE projection = 'tasks'), 0),
       w.position, w.last_hash, w.first_hash, NULL,
       max(error) FILTER (WHERE projection = 'forms'), max(error) FILTER (WHERE projection = 'submissions'),
       max(error) FILTER (WHERE projection = 'statistics'), max(error) FILTER (WHERE projection = 'tasks')
FROM earlier_checkpoints AS c LEFT JOIN witnesses AS w USING (tenant_id)
GROUP BY c.tenant_id;

DROP TABLE earlier_checkpoints;
DROP TABLE witnesses;
