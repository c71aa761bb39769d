-- How far all projections have come in a ledger, and which ledger that is, in one row a tenant: each batch moves this row for every tenant that it has
-- events of. The same as migrations/sqlite/read-models/0008_one_row_a_tenant.sql; conventions as in 0001. A process of an earlier version neither reads
-- nor writes rows from here on.
ALTER TABLE checkpoints RENAME TO earlier_checkpoints;
ALTER INDEX checkpoints_pkey RENAME TO earlier_checkpoints_pkey;

CREATE TABLE checkpoints (
    tenant_id            text COLLATE "C" NOT NULL,
    forms_version        bigint,
    forms_position       bigint NOT NULL DEFAULT 0,
    submissions_version  bigint,
    submissions_position bigint NOT NULL DEFAULT 0,
    statistics_version   bigint,
    statistics_position  bigint NOT NULL DEFAULT 0,
    tasks_version        bigint,
    tasks_position       bigint NOT NULL DEFAULT 0,
    reflected_position   bigint,
    reflected_hash       bytea,
    first_hash           bytea,
    uncounted            text COLLATE "C",
    forms_error          text COLLATE "C",
    submissions_error    text COLLATE "C",
    statistics_error     text COLLATE "C",
    tasks_error          text COLLATE "C",

    CONSTRAINT checkpoints_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT checkpoints_position_check
        CHECK (forms_position >= 0 AND submissions_position >= 0 AND statistics_position >= 0 AND tasks_position >= 0),
    CONSTRAINT checkpoints_reflected_check CHECK ((reflected_position IS NULL) = (reflected_hash IS NULL))
-- Half of each page stays free, so that a row moves within its page and no index is touched.
) WITH (fillfactor = 50);

COMMENT ON TABLE checkpoints IS
    'How far each projection has come in each ledger, and which ledger the rows were made from, so that rows of another one, or of a history '
    'that was lost, are recognised.';
COMMENT ON COLUMN checkpoints.forms_version IS
    'Version of the projection''s code, as of the others; NULL while it made nothing. Rows of another version are dropped by who keeps them.';
COMMENT ON COLUMN checkpoints.forms_position IS
    'The last ledger position that the rows reflect, as of the others; committed together with them.';
COMMENT ON COLUMN checkpoints.forms_error IS
    'Why it is parked before an event that cannot be applied, as of the others; NULL while it follows.';
COMMENT ON COLUMN checkpoints.reflected_position IS
    'A position that the rows reflect, and in reflected_hash the leaf hash of the event there; NULL where nothing was noted.';
COMMENT ON COLUMN checkpoints.first_hash IS
    'RFC 6962 leaf hash of the ledger''s first event, 32 bytes; NULL for rows that an earlier binary began.';

COMMENT ON COLUMN checkpoints.uncounted IS
    'What is to be added to state_counts, day_counts and outcome_counts, JSON: arrays of their columns behind the tenant; NULL for nothing.';

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
GROUP BY c.tenant_id, w.tenant_id;

DROP TABLE earlier_checkpoints;
DROP TABLE witnesses;

GRANT SELECT, INSERT, UPDATE, DELETE ON checkpoints TO formledger_projector;
GRANT SELECT ON checkpoints TO formledger_reader;
ALTER TABLE checkpoints ENABLE ROW LEVEL SECURITY;
CREATE POLICY checkpoints_whole ON checkpoints TO formledger_projector USING (true) WITH CHECK (true);
CREATE POLICY checkpoints_of_tenant ON checkpoints FOR SELECT TO formledger_reader
    USING (tenant_id = current_setting('app.tenant', true));
