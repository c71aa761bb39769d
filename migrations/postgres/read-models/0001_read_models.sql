-- The read models: derived from the ledger, and derivable again. The same tables as migrations/sqlite/read-models/0001_read_models.sql, in a
-- schema of their own (`read_models`, and `read_models_rebuild` while a rebuild makes fresh rows), in the ledger's database or in another.
-- Applied at open by projections/src/schema.rs, in one transaction and with the schema as search path. Never edit an applied migration: add
-- the next number. Every unique key starts with the tenant. Times are microseconds since 1970-01-01T00:00:00Z.

-- Roles belong to the whole cluster: the ledger's migrations or another database may have made them, or be making them now.
DO $roles$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['formledger_projector', 'formledger_reader'] LOOP
        IF to_regrole(role_name) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN
                    NULL;
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION '`%` may not create the role `%`: let an administrator run '
                        '`CREATE ROLE formledger_projector NOLOGIN; CREATE ROLE formledger_reader NOLOGIN; '
                        'GRANT formledger_projector, formledger_reader TO %I`',
                        current_user, role_name, current_user
                        USING ERRCODE = 'insufficient_privilege';
            END;
        END IF;
        IF NOT pg_has_role(current_user, role_name, 'USAGE') THEN
            BEGIN
                EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
            EXCEPTION
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION '`%` is no member of `%`: let an administrator run '
                        '`GRANT formledger_projector, formledger_reader TO %I`',
                        current_user, role_name, current_user
                        USING ERRCODE = 'insufficient_privilege';
            END;
        END IF;
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO formledger_projector, formledger_reader', current_schema());
END
$roles$;

CREATE TABLE checkpoints (
    tenant_id  text COLLATE "C" NOT NULL,
    projection text COLLATE "C" NOT NULL,
    version    bigint NOT NULL,
    position   bigint NOT NULL,
    previous   bigint NOT NULL,
    status     text COLLATE "C" NOT NULL,
    error      text COLLATE "C",

    CONSTRAINT checkpoints_pkey PRIMARY KEY (tenant_id, projection, version),
    CONSTRAINT checkpoints_position_check CHECK (position >= 0),
    CONSTRAINT checkpoints_status_check CHECK (status IN ('following', 'parked')),
    CONSTRAINT checkpoints_error_check CHECK ((status = 'parked') = (error IS NOT NULL))
-- Half of each page stays free, so that a checkpoint moves within its page and no index is touched.
) WITH (fillfactor = 50);

COMMENT ON TABLE checkpoints IS 'How far each projection has come in each ledger.';
COMMENT ON COLUMN checkpoints.projection IS '`ReadModel::name`.';
COMMENT ON COLUMN checkpoints.version IS 'Version of the projection''s code; rows of another version are dropped at open.';
COMMENT ON COLUMN checkpoints.position IS 'The last ledger position that the rows reflect; committed together with them.';
COMMENT ON COLUMN checkpoints.previous IS
    'The position that the last batch started from: what its compare-and-set compared with.';
COMMENT ON COLUMN checkpoints.status IS '`following`, or `parked` before an event that cannot be applied.';
COMMENT ON COLUMN checkpoints.error IS 'Why it is parked.';

CREATE TABLE skips (
    tenant_id  text COLLATE "C" NOT NULL,
    projection text COLLATE "C" NOT NULL,
    version    bigint NOT NULL,
    position   bigint NOT NULL,
    actor      text COLLATE "C" NOT NULL,
    reason     text COLLATE "C" NOT NULL,
    skipped_at bigint NOT NULL,
    error      text COLLATE "C" NOT NULL,

    CONSTRAINT skips_pkey PRIMARY KEY (tenant_id, projection, version, position)
);

COMMENT ON TABLE skips IS
    'Events that an operator let a projection pass over; the only way past an event that cannot be applied.';
COMMENT ON COLUMN skips.position IS 'The event that was passed over.';
COMMENT ON COLUMN skips.actor IS 'Who decided it.';
COMMENT ON COLUMN skips.error IS 'What the projection had said.';

CREATE TABLE forms (
    tenant_id  text COLLATE "C" NOT NULL,
    form       text COLLATE "C" NOT NULL,
    title      text COLLATE "C" NOT NULL,
    version    bigint,
    draft      text COLLATE "C",
    retired    boolean NOT NULL,
    reason     text COLLATE "C",
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    sequence   bigint NOT NULL,
    position   bigint NOT NULL,

    CONSTRAINT forms_pkey PRIMARY KEY (tenant_id, form)
);

COMMENT ON COLUMN forms.title IS 'Of the newest published version, else of the draft.';
COMMENT ON COLUMN forms.version IS 'The newest published version; NULL before the first.';
COMMENT ON COLUMN forms.draft IS 'The definition saved after the newest publication, JSON; NULL when there is none.';
COMMENT ON COLUMN forms.retired IS 'Whether the form takes no new submissions.';
COMMENT ON COLUMN forms.reason IS 'Why it was retired.';
COMMENT ON COLUMN forms.created_at IS 'recorded_at of the form''s first event; updated_at of its last.';
COMMENT ON COLUMN forms.position IS 'Of the form''s last event, as sequence.';

CREATE TABLE form_versions (
    tenant_id    text COLLATE "C" NOT NULL,
    form         text COLLATE "C" NOT NULL,
    version      bigint NOT NULL,
    definition   text COLLATE "C" NOT NULL,
    published_at bigint NOT NULL,
    published_by text COLLATE "C" NOT NULL,
    position     bigint NOT NULL,

    CONSTRAINT form_versions_pkey PRIMARY KEY (tenant_id, form, version)
);

COMMENT ON COLUMN form_versions.definition IS 'As published, JSON.';
COMMENT ON COLUMN form_versions.published_by IS 'The subject who published it.';
COMMENT ON COLUMN form_versions.position IS 'Of the publication.';

CREATE TABLE submissions (
    tenant_id        text COLLATE "C" NOT NULL,
    submission_id    uuid NOT NULL,
    form             text COLLATE "C" NOT NULL,
    form_version     bigint NOT NULL,
    state            text COLLATE "C" NOT NULL,
    submitter        text COLLATE "C" NOT NULL,
    created_at       bigint NOT NULL,
    updated_at       bigint NOT NULL,
    created_position bigint NOT NULL,
    position         bigint NOT NULL,
    sequence         bigint NOT NULL,
    data             text COLLATE "C" NOT NULL,
    computed         text COLLATE "C",
    outcomes         text COLLATE "C",

    CONSTRAINT submissions_submission_id_key UNIQUE (tenant_id, submission_id),
    CONSTRAINT submissions_created_position_key UNIQUE (tenant_id, created_position)
);

COMMENT ON COLUMN submissions.created_at IS 'recorded_at of the first event; updated_at of the last.';
COMMENT ON COLUMN submissions.created_position IS
    'Of the first event. Orders as created_at does, without ties: recorded_at never decreases along a ledger.';
COMMENT ON COLUMN submissions.position IS 'Of the last event; orders as updated_at does.';
COMMENT ON COLUMN submissions.data IS 'As given, JSON.';
COMMENT ON COLUMN submissions.computed IS
    'Values that rules computed, JSON by pointer into data; NULL when there are none.';
COMMENT ON COLUMN submissions.outcomes IS 'What each rule said, JSON; NULL before the first evaluation.';

CREATE INDEX submissions_by_form ON submissions (tenant_id, form, created_position);
CREATE INDEX submissions_by_state ON submissions (tenant_id, state, created_position);
CREATE INDEX submissions_by_submitter ON submissions (tenant_id, submitter, created_position);
CREATE INDEX submissions_by_update ON submissions (tenant_id, position);

CREATE TABLE submission_fields (
    tenant_id        text COLLATE "C" NOT NULL,
    form             text COLLATE "C" NOT NULL,
    pointer          text COLLATE "C" NOT NULL,
    kind             bigint NOT NULL,
    value_number     double precision NOT NULL,
    value_text       text COLLATE "C" NOT NULL,
    created_position bigint NOT NULL,

    CONSTRAINT submission_fields_pkey
        PRIMARY KEY (tenant_id, form, pointer, kind, value_number, value_text, created_position),
    CONSTRAINT submission_fields_kind_check CHECK (kind IN (0, 1, 2))
);

COMMENT ON TABLE submission_fields IS 'One row per submission and field that its form version indexes.';
COMMENT ON COLUMN submission_fields.pointer IS 'The field, RFC 6901.';
COMMENT ON COLUMN submission_fields.kind IS '0 no comparable value, 1 number, 2 text; numbers sort before texts.';
COMMENT ON COLUMN submission_fields.value_number IS '0 unless kind is 1.';
COMMENT ON COLUMN submission_fields.value_text IS 'Empty unless kind is 2; at most the first 1,024 bytes.';
COMMENT ON COLUMN submission_fields.created_position IS 'The submission, as submissions.created_position.';

CREATE TABLE indexed_fields (
    tenant_id    text COLLATE "C" NOT NULL,
    form         text COLLATE "C" NOT NULL,
    form_version bigint NOT NULL,
    pointers     text COLLATE "C" NOT NULL,

    CONSTRAINT indexed_fields_pkey PRIMARY KEY (tenant_id, form, form_version)
);

COMMENT ON TABLE indexed_fields IS
    'What each published version indexes; kept by the submissions projection for itself.';
COMMENT ON COLUMN indexed_fields.pointers IS 'JSON array of pointers, in the definition''s order.';

CREATE TABLE state_counts (
    tenant_id text COLLATE "C" NOT NULL,
    form      text COLLATE "C" NOT NULL,
    state     text COLLATE "C" NOT NULL,
    count     bigint NOT NULL,

    CONSTRAINT state_counts_pkey PRIMARY KEY (tenant_id, form, state)
) WITH (fillfactor = 50);

COMMENT ON TABLE state_counts IS 'Submissions by the state they are in.';

CREATE TABLE day_counts (
    tenant_id text COLLATE "C" NOT NULL,
    form      text COLLATE "C" NOT NULL,
    day       text COLLATE "C" NOT NULL,
    count     bigint NOT NULL,

    CONSTRAINT day_counts_pkey PRIMARY KEY (tenant_id, form, day)
) WITH (fillfactor = 50);

COMMENT ON TABLE day_counts IS 'Submissions by the UTC day they were created on, `YYYY-MM-DD`.';

CREATE TABLE outcome_counts (
    tenant_id text COLLATE "C" NOT NULL,
    form      text COLLATE "C" NOT NULL,
    rule      text COLLATE "C" NOT NULL,
    matched   boolean NOT NULL,
    value     text COLLATE "C" NOT NULL,
    count     bigint NOT NULL,

    CONSTRAINT outcome_counts_pkey PRIMARY KEY (tenant_id, form, rule, matched, value)
) WITH (fillfactor = 50);

COMMENT ON TABLE outcome_counts IS 'Evaluations by what each rule said.';
COMMENT ON COLUMN outcome_counts.matched IS 'Whether the rule''s condition held.';
COMMENT ON COLUMN outcome_counts.value IS 'What it said, JSON; empty for all values that are not counted apart.';

-- The projector writes everything; the reader sees one tenant: the one its transaction names. Without a name it sees nothing.
GRANT SELECT ON schema_version TO formledger_projector, formledger_reader;
DO $rights$
DECLARE
    table_name text;
BEGIN
    FOREACH table_name IN ARRAY ARRAY['checkpoints', 'skips', 'forms', 'form_versions', 'submissions', 'submission_fields',
                                      'indexed_fields', 'state_counts', 'day_counts', 'outcome_counts'] LOOP
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
