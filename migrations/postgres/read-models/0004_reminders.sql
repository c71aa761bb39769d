-- Tasks are looked for by when time does something next with them. The same as migrations/sqlite/read-models/0004_reminders.sql.

-- Rows that are here are not filled in: see there.
ALTER TABLE tasks ADD COLUMN next_at bigint;
COMMENT ON COLUMN tasks.next_at IS
    'When time does something next: tells that it waits, or ends the waiting; NULL when it does nothing.';

-- Of all tenants, for the timer, as tasks_by_due was before.
DROP INDEX tasks_by_due;
CREATE INDEX tasks_by_next ON tasks (next_at, tenant_id, submission_id) WHERE next_at IS NOT NULL;
