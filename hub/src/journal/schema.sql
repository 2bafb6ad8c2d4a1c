-- Version 1 of the journal.
--
-- Times are nanoseconds since the Unix epoch; the greatest and the least integer stand for "never" and "ever".
-- Hashes are lower-case hexadecimal. Documents are JSON text.

-- The current state of each run, and the head of its chain. `anchored` is the last entry that an anchor covers.
-- Row numbers are never used again.
CREATE TABLE runs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    run        TEXT    NOT NULL UNIQUE,
    playbook   TEXT    NOT NULL,
    account    TEXT    NOT NULL,
    region     TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    code       TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    opened_at  INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    wake       INTEGER,
    over       INTEGER NOT NULL CHECK (over IN (0, 1)),
    sweep      TEXT,
    seq        INTEGER NOT NULL DEFAULT 0,
    hash       TEXT    NOT NULL DEFAULT '',
    anchored   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX runs_due ON runs (wake) WHERE over = 0 AND wake IS NOT NULL;
CREATE INDEX runs_open ON runs (opened_at) WHERE over = 0;
CREATE INDEX runs_running ON runs (id) WHERE over = 0 AND state = 'running';
CREATE INDEX runs_opened ON runs (opened_at);
CREATE INDEX runs_of_account ON runs (account, opened_at);
CREATE INDEX runs_of_sweep ON runs (sweep) WHERE sweep IS NOT NULL;
CREATE INDEX runs_to_anchor ON runs (id) WHERE seq > anchored;

-- What happened, in one hash chain for each run.
CREATE TABLE entries (
    run   INTEGER NOT NULL REFERENCES runs (id),
    seq   INTEGER NOT NULL CHECK (seq > 0),
    at    INTEGER NOT NULL,
    entry TEXT    NOT NULL,
    prev  TEXT    NOT NULL,
    hash  TEXT    NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT;
CREATE TRIGGER entries_never_change BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'an entry is never changed'); END;
CREATE TRIGGER entries_stay BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'an entry is never removed'); END;

-- What is remembered of each finding.
CREATE TABLE findings (
    finding TEXT    NOT NULL PRIMARY KEY,
    run     INTEGER REFERENCES runs (id),
    version TEXT    NOT NULL,
    ignored TEXT,
    at      INTEGER NOT NULL
) STRICT;

-- What runs correlate by.
CREATE TABLE keys (
    key TEXT    NOT NULL,
    run INTEGER NOT NULL REFERENCES runs (id),
    PRIMARY KEY (key, run)
) STRICT, WITHOUT ROWID;

CREATE TABLE locks (
    resource TEXT    NOT NULL PRIMARY KEY,
    run      INTEGER NOT NULL REFERENCES runs (id),
    step     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX locks_of_step ON locks (run, step);

-- When a resource was last given back: what was planned before that is of another world.
CREATE TABLE unlocked (
    resource TEXT    NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE claims (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    run       INTEGER NOT NULL REFERENCES runs (id),
    step      TEXT    NOT NULL,
    resource  TEXT    NOT NULL,
    attribute TEXT    NOT NULL,
    from_run  INTEGER NOT NULL REFERENCES runs (id),
    from_step TEXT    NOT NULL,
    UNIQUE (run, step, resource, attribute, from_run, from_step)
) STRICT;
CREATE INDEX claims_on ON claims (resource, attribute);

-- Resources changed, for the caps.
CREATE TABLE spent (
    id       INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    account  TEXT    NOT NULL,
    resource TEXT    NOT NULL
) STRICT;
CREATE INDEX spent_at ON spent (at);

CREATE TABLE stand_downs (
    key   TEXT    NOT NULL PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The right to drive: at most one row, whose epoch only grows. `boot` names the boot and the process namespace, `born` the process's start.
CREATE TABLE lease (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    epoch   INTEGER NOT NULL,
    what    TEXT    NOT NULL,
    pid     INTEGER NOT NULL,
    born    INTEGER NOT NULL,
    host    TEXT    NOT NULL,
    boot    TEXT    NOT NULL,
    started INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;

-- What people ask of the process that drives. `ok` is empty until it has answered.
CREATE TABLE requests (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    person   TEXT    NOT NULL,
    request  TEXT    NOT NULL,
    ok       INTEGER CHECK (ok IN (0, 1)),
    answer   TEXT,
    answered INTEGER
) STRICT;
CREATE INDEX requests_open ON requests (id) WHERE ok IS NULL;

-- The heads of the runs that changed, in one chain over all runs: what shows a run that was removed.
CREATE TABLE anchors (
    seq   INTEGER PRIMARY KEY,
    at    INTEGER NOT NULL,
    heads TEXT    NOT NULL,
    prev  TEXT    NOT NULL,
    hash  TEXT    NOT NULL
) STRICT;
CREATE TRIGGER anchors_never_change BEFORE UPDATE ON anchors BEGIN SELECT RAISE(ABORT, 'an anchor is never changed'); END;
CREATE TRIGGER anchors_stay BEFORE DELETE ON anchors BEGIN SELECT RAISE(ABORT, 'an anchor is never removed'); END;
