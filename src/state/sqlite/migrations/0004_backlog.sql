-- Going through what is open, looking up what is known of a key, and forgetting what is old.
-- How an object that is claimed again had ended before: that still holds when the claim ends without an outcome.
ALTER TABLE objects ADD COLUMN open_state TEXT;
ALTER TABLE objects ADD COLUMN open_reason TEXT NOT NULL DEFAULT '';
CREATE INDEX objects_open ON objects (id)
    WHERE coalesce(state, open_state) IN ('unrouted', 'missing', 'archived', 'parked', 'quarantined', 'partial');
CREATE INDEX objects_of_key ON objects (bucket, key);
CREATE INDEX objects_done ON objects (finished_at)
    WHERE state IN ('committed', 'empty', 'folder', 'excluded', 'superseded');

-- How far a listing has come, by what it lists.
CREATE TABLE checkpoints (
    name     TEXT    NOT NULL PRIMARY KEY,
    position TEXT    NOT NULL,
    at       INTEGER NOT NULL
) STRICT;

-- One row: objects that were finished before this time may be unknown.
CREATE TABLE forgotten (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    before INTEGER NOT NULL
) STRICT;
