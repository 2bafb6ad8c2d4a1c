-- Pages: what everybody is told at once that belongs to no incident; written with the line or entry that it tells of, by any process.
-- `target` empty: nobody could be told then; whoever drives next puts its own destinations in its place. The rest as in `outbox`.
CREATE TABLE pages (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    key     TEXT    NOT NULL,
    target  TEXT    NOT NULL,
    page    TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    due     INTEGER NOT NULL,
    tries   INTEGER NOT NULL DEFAULT 0,
    unsure  INTEGER NOT NULL DEFAULT 0 CHECK (unsure IN (0, 1)),
    place   TEXT,
    last    TEXT,
    done    INTEGER,
    gave_up TEXT,
    UNIQUE (key, target)
) STRICT;
CREATE INDEX pages_line ON pages (target, id) WHERE done IS NULL;
