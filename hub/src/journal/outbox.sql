-- Version 2 of the journal: the outbox.

-- Where notices go, as the process that drives says at its start.
CREATE TABLE outbox_targets (
    name TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- What people are to be told, once for each destination; written with the entries that it tells of. `unsure`: an attempt to send it may have
-- come through. `place`: where it stands there. `done`: when it was sent, or given up for the reason in `gave_up`.
CREATE TABLE outbox (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    run     INTEGER NOT NULL REFERENCES runs (id),
    key     TEXT    NOT NULL,
    target  TEXT    NOT NULL,
    notice  TEXT    NOT NULL,
    due     INTEGER NOT NULL,
    tries   INTEGER NOT NULL DEFAULT 0,
    unsure  INTEGER NOT NULL DEFAULT 0 CHECK (unsure IN (0, 1)),
    place   TEXT,
    last    TEXT,
    done    INTEGER,
    gave_up TEXT,
    UNIQUE (run, key, target)
) STRICT;
CREATE INDEX outbox_line ON outbox (target, run, id) WHERE done IS NULL;

-- Who was turned away at a door of Cordon's, and why: what was asked for with no right to, and what could not be told.
CREATE TABLE turned_away (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    at   INTEGER NOT NULL,
    door TEXT    NOT NULL,
    who  TEXT    NOT NULL,
    what TEXT    NOT NULL,
    why  TEXT    NOT NULL
) STRICT;
CREATE TRIGGER turned_away_never_changes BEFORE UPDATE ON turned_away BEGIN SELECT RAISE(ABORT, 'what was turned away is never changed'); END;
CREATE TRIGGER turned_away_stays BEFORE DELETE ON turned_away BEGIN SELECT RAISE(ABORT, 'what was turned away is never removed'); END;
