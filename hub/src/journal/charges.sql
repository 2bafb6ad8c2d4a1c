-- What was charged to budgets: when, by which step, where (`path`: the ids from the root down, as JSON), and what. `member` and `outof` are of
-- shares in service.
CREATE TABLE charges (
    id       INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    run      INTEGER NOT NULL REFERENCES runs (id),
    step     TEXT    NOT NULL,
    account  TEXT    NOT NULL,
    path     TEXT    NOT NULL,
    counts   TEXT    NOT NULL,
    resource TEXT    NOT NULL,
    member   TEXT    NOT NULL,
    outof    INTEGER NOT NULL
) STRICT;
CREATE INDEX charges_at ON charges (counts, at);
