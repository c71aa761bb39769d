-- Texts that say decimal numbers and moments are found and sorted by what they say. Keys of field_keys (0006) are made again from the ledger (version 3
-- of the projection of submissions). A value in them is now: 00 no comparable value; 01 and a number: 00, 01 or 02 for its sign, its exponent of 100 as
-- 16 bits, and its digits in pairs, each one more than it says, all of which is inverted for a negative number, with FF behind it; 02 and a text, of one
-- that is longer the first 1,024 bytes and FF; 03 and a moment: seconds since 1970 as 64 bits and nanoseconds as 32.

-- JSON object: by pointer `decimal` or `timestamp`; NULL where all texts are plain.
ALTER TABLE indexed_fields ADD COLUMN text_kinds TEXT;
