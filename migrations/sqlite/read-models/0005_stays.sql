-- How long submissions are in their states, and one version of a projection at a time. Conventions as in 0001; times are microseconds since
-- 1970-01-01T00:00:00Z.

-- Rows of a tenant are of one version of the projection's code. A process of another version that still runs can write neither checkpoint nor
-- rows beside them (its transaction fails as a whole), so nothing is ever counted twice.
DELETE FROM checkpoints WHERE EXISTS (SELECT 1 FROM checkpoints AS c WHERE c.tenant_id = checkpoints.tenant_id
    AND c.projection = checkpoints.projection AND c.version > checkpoints.version);
CREATE UNIQUE INDEX checkpoints_one_version_key ON checkpoints (tenant_id, projection);

-- Stays in a state that go on: drafts, and submissions that wait for people.
CREATE TABLE open_stays (
    tenant_id     TEXT NOT NULL,
    -- UUID, 16 bytes.
    submission_id BLOB NOT NULL,
    state         TEXT NOT NULL,
    -- recorded_at of the event with which it began.
    since         INTEGER NOT NULL,

    CONSTRAINT open_stays_pkey PRIMARY KEY (tenant_id, submission_id)
) STRICT, WITHOUT ROWID;

-- The same, counted by the UTC day on which they began, `YYYY-MM-DD`.
CREATE TABLE open_stay_counts (
    tenant_id TEXT NOT NULL,
    form      TEXT NOT NULL,
    state     TEXT NOT NULL,
    day       TEXT NOT NULL,
    count     INTEGER NOT NULL,

    CONSTRAINT open_stay_counts_pkey PRIMARY KEY (tenant_id, form, state, day)
) STRICT, WITHOUT ROWID;

-- Stays that ended, by classes of their duration.
CREATE TABLE ended_stay_counts (
    tenant_id TEXT NOT NULL,
    form      TEXT NOT NULL,
    state     TEXT NOT NULL,
    -- Whole seconds below 8, then eight classes for each doubling.
    class     INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    -- How long they took together, each in whole milliseconds: in microseconds, 300,000 years of a form's stays would be too many.
    millis    INTEGER NOT NULL,

    CONSTRAINT ended_stay_counts_pkey PRIMARY KEY (tenant_id, form, state, class)
) STRICT, WITHOUT ROWID;
