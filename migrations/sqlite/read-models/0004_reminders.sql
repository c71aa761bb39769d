-- Tasks are looked for by when time does something next with them: tells that they wait, or ends the waiting.

-- Microseconds since 1970-01-01T00:00:00Z; NULL when time does nothing. Until now only due dates did.
ALTER TABLE tasks ADD COLUMN next_at INTEGER;
UPDATE tasks SET next_at = due_at;

-- Of all tenants, for the timer, as tasks_by_due was before.
DROP INDEX tasks_by_due;
CREATE INDEX tasks_by_next ON tasks (next_at, tenant_id, submission_id) WHERE next_at IS NOT NULL;
