-- Marks a ledger whose import is not at its end: nobody else appends to it until it is, because the rest of the file would not fit any more.
-- The same number for both databases (0002 is SQLite's alone); set with the first batch of an import, cleared in the transaction of the last.

ALTER TABLE ledgers ADD COLUMN importing boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN ledgers.importing IS 'Whether an import is not at its end: nobody else appends until it is.';

GRANT UPDATE (importing) ON ledgers TO formledger_writer;
