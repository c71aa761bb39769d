-- What waits for people, and until when. The same tables as migrations/sqlite/read-models/0003_tasks.sql; conventions as in 0001.

CREATE TABLE tasks (
    tenant_id       text COLLATE "C" NOT NULL,
    submission_id   uuid NOT NULL,
    form            text COLLATE "C" NOT NULL,
    form_version    bigint NOT NULL,
    work            text COLLATE "C" NOT NULL,
    opened_at       bigint NOT NULL,
    opened_position bigint NOT NULL,
    due_at          bigint,

    CONSTRAINT tasks_pkey PRIMARY KEY (tenant_id, submission_id)
);

COMMENT ON TABLE tasks IS 'What waits for people; one row per submission that waits, or that somebody delegated.';
COMMENT ON COLUMN tasks.work IS
    'Where the submission stands in its workflow, JSON: the open task, approvals, who took it on, who acts for whom.';
COMMENT ON COLUMN tasks.opened_at IS 'recorded_at of the event that opened the task.';
COMMENT ON COLUMN tasks.opened_position IS 'Position of the event that opened the task.';
COMMENT ON COLUMN tasks.due_at IS 'Until when it should be done; NULL when it may wait, or did escalate.';

-- What is due next, of all tenants: the one index here that does not begin with the tenant, for the timer.
CREATE INDEX tasks_by_due ON tasks (due_at, tenant_id, submission_id) WHERE due_at IS NOT NULL;

CREATE TABLE task_audience (
    tenant_id       text COLLATE "C" NOT NULL,
    audience        text COLLATE "C" NOT NULL,
    due_order       bigint NOT NULL,
    opened_position bigint NOT NULL,
    submission_id   uuid NOT NULL,

    CONSTRAINT task_audience_pkey PRIMARY KEY (tenant_id, audience, due_order, opened_position, submission_id)
);

COMMENT ON TABLE task_audience IS
    'One row per open task and role or person that it may wait for, in the order in which their tasks are listed.';
COMMENT ON COLUMN task_audience.audience IS '`role:<role>` or `person:<subject>`.';
COMMENT ON COLUMN task_audience.due_order IS 'tasks.due_at; the largest integer where that is NULL.';

DO $rights$
DECLARE
    table_name text;
BEGIN
    FOREACH table_name IN ARRAY ARRAY['tasks', 'task_audience'] LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO formledger_projector', table_name);
        EXECUTE format('GRANT SELECT ON %I TO formledger_reader', table_name);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', table_name);
        EXECUTE format('CREATE POLICY %I ON %I TO formledger_projector USING (true) WITH CHECK (true)',
                       table_name || '_whole', table_name);
        EXECUTE format('CREATE POLICY %I ON %I FOR SELECT TO formledger_reader '
                       'USING (tenant_id = current_setting(''app.tenant'', true))',
                       table_name || '_of_tenant', table_name);
    END LOOP;
END
$rights$;
