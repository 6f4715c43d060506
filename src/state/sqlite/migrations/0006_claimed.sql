-- When an object was claimed last. An outcome answers what was announced before that, and nothing later: the work may have
-- begun long before it ended.
ALTER TABLE objects ADD COLUMN claimed_at INTEGER;
UPDATE objects SET claimed_at = coalesce(first_claimed_at, finished_at);

-- Forgetting objects that came to no outcome, and those that no source took.
CREATE INDEX objects_unfinished ON objects (claimed_at) WHERE coalesce(state, open_state) IS NULL;
CREATE INDEX objects_unrouted ON objects (finished_at) WHERE coalesce(state, open_state) = 'unrouted';
