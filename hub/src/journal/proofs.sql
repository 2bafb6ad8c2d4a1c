-- Version 5 of the journal: by which identity each request was proven, and which proofs were taken, so that none counts twice.
ALTER TABLE requests ADD COLUMN identity TEXT NOT NULL DEFAULT '';

-- SHA-256 of a proof's signature, until it would be too old anyway. The signature itself is kept nowhere.
CREATE TABLE proofs (
    signature TEXT    NOT NULL PRIMARY KEY,
    until     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
