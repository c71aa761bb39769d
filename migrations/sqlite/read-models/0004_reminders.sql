-- Tasks are looked for by when time does something next with them: tells that they wait, or ends the waiting.

-- Microseconds since 1970-01-01T00:00:00Z; NULL when time does nothing. Rows that are here are not filled in: an earlier binary may go on
-- writing such rows until one of this version leads, which makes them all again (version 2 of the projection).
ALTER TABLE tasks ADD COLUMN next_at INTEGER;

-- Of all tenants, for the timer, as tasks_by_due was before.
DROP INDEX tasks_by_due;
CREATE INDEX tasks_by_next ON tasks (next_at, tenant_id, submission_id) WHERE next_at IS NOT NULL;
