-- What waits for people, and until when. Text keys as in 0001; times are microseconds since 1970-01-01T00:00:00Z.

CREATE TABLE tasks (
    tenant_id       TEXT NOT NULL,
    -- UUID, 16 bytes.
    submission_id   BLOB NOT NULL,
    form            TEXT NOT NULL,
    form_version    INTEGER NOT NULL,
    -- Where the submission stands in its workflow, JSON: the open task, approvals, who took it on, who acts for whom.
    work            TEXT NOT NULL,
    -- recorded_at and position of the event that opened the task.
    opened_at       INTEGER NOT NULL,
    opened_position INTEGER NOT NULL,
    -- Until when it should be done; NULL when it may wait, or did escalate.
    due_at          INTEGER,

    CONSTRAINT tasks_pkey PRIMARY KEY (tenant_id, submission_id)
) STRICT, WITHOUT ROWID;

-- What is due next, of all tenants: the one index here that does not begin with the tenant, for the timer.
CREATE INDEX tasks_by_due ON tasks (due_at, tenant_id, submission_id) WHERE due_at IS NOT NULL;

-- One row per open task and role or person that it may wait for. The key is in the order in which a person's tasks are listed, so
-- that a page is one walk along it for each of the person's roles.
CREATE TABLE task_audience (
    tenant_id       TEXT NOT NULL,
    -- `role:<role>` or `person:<subject>`.
    audience        TEXT NOT NULL,
    -- tasks.due_at; the largest integer where that is NULL, so that what may wait comes last.
    due_order       INTEGER NOT NULL,
    opened_position INTEGER NOT NULL,
    submission_id   BLOB NOT NULL,

    CONSTRAINT task_audience_pkey PRIMARY KEY (tenant_id, audience, due_order, opened_position, submission_id)
) STRICT, WITHOUT ROWID;
