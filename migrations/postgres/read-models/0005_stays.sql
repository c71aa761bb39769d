-- How long submissions are in their states, and one version of a projection at a time. The same as migrations/sqlite/read-models/0005_stays.sql;
-- conventions as in 0001.

-- Rows of a tenant are of one version of the projection's code. A process of another version that still runs can write neither checkpoint nor
-- rows beside them (its transaction fails as a whole), so nothing is ever counted twice.
DELETE FROM checkpoints WHERE EXISTS (SELECT 1 FROM checkpoints AS c WHERE c.tenant_id = checkpoints.tenant_id
    AND c.projection = checkpoints.projection AND c.version > checkpoints.version);
ALTER TABLE checkpoints ADD CONSTRAINT checkpoints_one_version_key UNIQUE (tenant_id, projection);

CREATE TABLE open_stays (
    tenant_id     text COLLATE "C" NOT NULL,
    submission_id uuid NOT NULL,
    state         text COLLATE "C" NOT NULL,
    since         bigint NOT NULL,

    CONSTRAINT open_stays_pkey PRIMARY KEY (tenant_id, submission_id)
);

COMMENT ON TABLE open_stays IS 'Stays in a state that go on: drafts, and submissions that wait for people.';
COMMENT ON COLUMN open_stays.since IS 'recorded_at of the event with which it began.';

CREATE TABLE open_stay_counts (
    tenant_id text COLLATE "C" NOT NULL,
    form      text COLLATE "C" NOT NULL,
    state     text COLLATE "C" NOT NULL,
    day       text COLLATE "C" NOT NULL,
    count     bigint NOT NULL,

    CONSTRAINT open_stay_counts_pkey PRIMARY KEY (tenant_id, form, state, day)
) WITH (fillfactor = 50);

COMMENT ON TABLE open_stay_counts IS 'Stays that go on, by the UTC day on which they began, `YYYY-MM-DD`.';

CREATE TABLE ended_stay_counts (
    tenant_id text COLLATE "C" NOT NULL,
    form      text COLLATE "C" NOT NULL,
    state     text COLLATE "C" NOT NULL,
    class     bigint NOT NULL,
    count     bigint NOT NULL,
    millis    bigint NOT NULL,

    CONSTRAINT ended_stay_counts_pkey PRIMARY KEY (tenant_id, form, state, class)
) WITH (fillfactor = 50);

COMMENT ON TABLE ended_stay_counts IS 'Stays that ended, by classes of their duration.';
COMMENT ON COLUMN ended_stay_counts.class IS 'Whole seconds below 8, then eight classes for each doubling.';
COMMENT ON COLUMN ended_stay_counts.millis IS 'How long they took together, each in whole milliseconds.';

DO $rights$
DECLARE
    table_name text;
BEGIN
    FOREACH table_name IN ARRAY ARRAY['open_stays', 'open_stay_counts', 'ended_stay_counts'] LOOP
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
