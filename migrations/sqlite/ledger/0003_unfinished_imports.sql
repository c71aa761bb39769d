-- Marks a ledger whose import is not at its end: nobody else appends to it until it is, because the rest of the file would not fit any more.
-- The same number for both databases; set with the first batch of an import, cleared in the transaction of the last.

-- 1 while an import is not at its end, else 0.
ALTER TABLE ledgers ADD COLUMN importing INTEGER NOT NULL DEFAULT 0 CONSTRAINT ledgers_importing_check CHECK (importing IN (0, 1));
