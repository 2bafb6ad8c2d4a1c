-- Owners of what was changed are told by destinations of their own.

-- Whose notices a destination is told: those of the team that works with Cordon, or those of owners.
ALTER TABLE outbox_targets ADD COLUMN audience TEXT NOT NULL DEFAULT 'team' CHECK (audience IN ('team', 'owner'));

-- Who was told, and how they were found: owners differ from notice to notice. Empty of what a destination left to another one.
ALTER TABLE outbox ADD COLUMN told TEXT;
