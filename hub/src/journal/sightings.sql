-- What was seen of the opt-out tag of accounts, OUs and resources, by id or ARN: its value (NULL: there was none), the end of the first read and
-- the beginning of the last one that saw it so, and the same of what it was before (`before_first` NULL: it was never seen otherwise). What
-- was not seen for 90 days is removed.
CREATE TABLE sightings (
    whose        TEXT    NOT NULL PRIMARY KEY,
    value        TEXT,
    first        INTEGER NOT NULL,
    last         INTEGER NOT NULL,
    before_value TEXT,
    before_first INTEGER,
    before_last  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX sightings_last ON sightings (last);
