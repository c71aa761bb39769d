-- Texts that say decimal numbers and moments are found and sorted by what they say. The same as migrations/sqlite/read-models/0007_text_kinds.sql, which
-- says how keys of field_keys are written now; conventions as in 0001.

ALTER TABLE indexed_fields ADD COLUMN text_kinds text COLLATE "C";

COMMENT ON COLUMN indexed_fields.text_kinds IS
    'JSON object: by pointer `decimal` or `timestamp`, what texts of the field say; NULL where all are plain.';
COMMENT ON COLUMN field_keys.field_key IS
    'Form, 00, pointer (RFC 6901; 00 as 01 01, 01 as 01 02), 00, and the value so that bytes are in its order: 00 no comparable value; '
    '01 and a number: 00, 01 or 02 for its sign, its exponent of 100 as 16 bits, its digits in pairs, each one more than it says, all of '
    'which is inverted for a negative number, with FF behind it; 02 and a text, of one that is longer the first 1,024 bytes and FF; '
    '03 and a moment: seconds since 1970 as 64 bits and nanoseconds as 32.';
