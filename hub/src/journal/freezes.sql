-- Freezes and thaws (level `off`), one line each. What stands is what was not thawed under the same scope later. `alarm` is the id of what
-- raised a self-alarm.
CREATE TABLE freezes (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    person TEXT    NOT NULL,
    why    TEXT    NOT NULL,
    scope  TEXT    NOT NULL,
    level  TEXT    NOT NULL CHECK (level IN ('off', 'limited', 'full')),
    hard   INTEGER NOT NULL CHECK (hard IN (0, 1)),
    alarm  TEXT UNIQUE
) STRICT;
CREATE INDEX freezes_of_scope ON freezes (scope, id) WHERE level = 'off';
CREATE TRIGGER freezes_never_change BEFORE UPDATE ON freezes BEGIN SELECT RAISE(ABORT, 'a freeze is never changed, only thawed'); END;
CREATE TRIGGER freezes_stay BEFORE DELETE ON freezes BEGIN SELECT RAISE(ABORT, 'a freeze is never removed, only thawed'); END;
