-- The read models: derived from the ledger, and derivable again; a file of their own (docs/adr/0003).
-- Applied at open by projections/src/schema.rs. Never edit an applied migration: add the next number.
-- Every unique key starts with the tenant. Times are microseconds since 1970-01-01T00:00:00Z.

CREATE TABLE checkpoints (
    tenant_id  TEXT NOT NULL,
    -- `ReadModel::name`.
    projection TEXT NOT NULL,
    -- Version of the projection's code; rows of another version are dropped at open.
    version    INTEGER NOT NULL,
    -- The last ledger position that the rows reflect; committed together with them.
    position   INTEGER NOT NULL,
    -- The position that the last batch started from: what its compare-and-set compared with.
    previous   INTEGER NOT NULL,
    -- `following`, or `parked` before an event that cannot be applied.
    status     TEXT NOT NULL,
    -- Why it is parked.
    error      TEXT,

    CONSTRAINT checkpoints_pkey PRIMARY KEY (tenant_id, projection, version),
    CONSTRAINT checkpoints_position_check CHECK (position >= 0),
    CONSTRAINT checkpoints_status_check CHECK (status IN ('following', 'parked')),
    CONSTRAINT checkpoints_error_check CHECK ((status = 'parked') = (error IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- Events that an operator let a projection pass over; the only way past an event that cannot be applied.
CREATE TABLE skips (
    tenant_id  TEXT NOT NULL,
    projection TEXT NOT NULL,
    version    INTEGER NOT NULL,
    -- The event that was passed over.
    position   INTEGER NOT NULL,
    -- Who decided it, why, when, and what the projection had said.
    actor      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    skipped_at INTEGER NOT NULL,
    error      TEXT NOT NULL,

    CONSTRAINT skips_pkey PRIMARY KEY (tenant_id, projection, version, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE forms (
    tenant_id  TEXT NOT NULL,
    form       TEXT NOT NULL,
    -- Of the newest published version, else of the draft.
    title      TEXT NOT NULL,
    -- The newest published version; NULL before the first.
    version    INTEGER,
    -- The definition saved after the newest publication, JSON; NULL when there is none.
    draft      TEXT,
    -- 1 when the form takes no new submissions.
    retired    INTEGER NOT NULL,
    -- Why it was retired.
    reason     TEXT,
    -- recorded_at of the form's first and last event.
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    -- Of the form's last event.
    sequence   INTEGER NOT NULL,
    position   INTEGER NOT NULL,

    CONSTRAINT forms_pkey PRIMARY KEY (tenant_id, form),
    CONSTRAINT forms_retired_check CHECK (retired IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE form_versions (
    tenant_id    TEXT NOT NULL,
    form         TEXT NOT NULL,
    version      INTEGER NOT NULL,
    -- As published, JSON.
    definition   TEXT NOT NULL,
    published_at INTEGER NOT NULL,
    -- The subject who published it.
    published_by TEXT NOT NULL,
    -- Of the publication.
    position     INTEGER NOT NULL,

    CONSTRAINT form_versions_pkey PRIMARY KEY (tenant_id, form, version)
) STRICT;

CREATE TABLE submissions (
    tenant_id        TEXT NOT NULL,
    -- UUID, 16 bytes.
    submission_id    BLOB NOT NULL,
    form             TEXT NOT NULL,
    form_version     INTEGER NOT NULL,
    state            TEXT NOT NULL,
    submitter        TEXT NOT NULL,
    -- recorded_at of the first and last event.
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    -- Of the first event. Orders as created_at does, without ties: recorded_at never decreases along a ledger.
    created_position INTEGER NOT NULL,
    -- Of the last event; orders as updated_at does.
    position         INTEGER NOT NULL,
    sequence         INTEGER NOT NULL,
    -- As given, JSON.
    data             TEXT NOT NULL,
    -- Values that rules computed, JSON by pointer into data; NULL when there are none.
    computed         TEXT,
    -- What each rule said, JSON; NULL before the first evaluation.
    outcomes         TEXT,

    CONSTRAINT submissions_submission_id_key UNIQUE (tenant_id, submission_id),
    CONSTRAINT submissions_created_position_key UNIQUE (tenant_id, created_position)
) STRICT;

CREATE INDEX submissions_by_form ON submissions (tenant_id, form, created_position);
CREATE INDEX submissions_by_state ON submissions (tenant_id, state, created_position);
CREATE INDEX submissions_by_submitter ON submissions (tenant_id, submitter, created_position);
CREATE INDEX submissions_by_update ON submissions (tenant_id, position);

-- One row per submission and field that its form version indexes; the table is its own index.
CREATE TABLE submission_fields (
    tenant_id        TEXT NOT NULL,
    form             TEXT NOT NULL,
    -- The field, RFC 6901.
    pointer          TEXT NOT NULL,
    -- 0 no comparable value, 1 number, 2 text; numbers sort before texts.
    kind             INTEGER NOT NULL,
    -- 0 unless kind is 1.
    value_number     REAL NOT NULL,
    -- Empty unless kind is 2; at most the first 1,024 bytes.
    value_text       TEXT NOT NULL,
    -- The submission, as submissions.created_position.
    created_position INTEGER NOT NULL,

    CONSTRAINT submission_fields_pkey
        PRIMARY KEY (tenant_id, form, pointer, kind, value_number, value_text, created_position),
    CONSTRAINT submission_fields_kind_check CHECK (kind IN (0, 1, 2))
) STRICT, WITHOUT ROWID;

-- What each published version indexes; kept by the submissions projection for itself.
CREATE TABLE indexed_fields (
    tenant_id    TEXT NOT NULL,
    form         TEXT NOT NULL,
    form_version INTEGER NOT NULL,
    -- JSON array of pointers, in the definition's order.
    pointers     TEXT NOT NULL,

    CONSTRAINT indexed_fields_pkey PRIMARY KEY (tenant_id, form, form_version)
) STRICT, WITHOUT ROWID;

-- Submissions by the state they are in.
CREATE TABLE state_counts (
    tenant_id TEXT NOT NULL,
    form      TEXT NOT NULL,
    state     TEXT NOT NULL,
    count     INTEGER NOT NULL,

    CONSTRAINT state_counts_pkey PRIMARY KEY (tenant_id, form, state)
) STRICT, WITHOUT ROWID;

-- Submissions by the UTC day they were created on, `YYYY-MM-DD`.
CREATE TABLE day_counts (
    tenant_id TEXT NOT NULL,
    form      TEXT NOT NULL,
    day       TEXT NOT NULL,
    count     INTEGER NOT NULL,

    CONSTRAINT day_counts_pkey PRIMARY KEY (tenant_id, form, day)
) STRICT, WITHOUT ROWID;

-- Evaluations by what each rule said.
CREATE TABLE outcome_counts (
    tenant_id TEXT NOT NULL,
    form      TEXT NOT NULL,
    rule      TEXT NOT NULL,
    -- 1 when the rule's condition held.
    matched   INTEGER NOT NULL,
    -- What it said, JSON; empty for all values that are not counted apart.
    value     TEXT NOT NULL,
    count     INTEGER NOT NULL,

    CONSTRAINT outcome_counts_pkey PRIMARY KEY (tenant_id, form, rule, matched, value),
    CONSTRAINT outcome_counts_matched_check CHECK (matched IN (0, 1))
) STRICT, WITHOUT ROWID;
