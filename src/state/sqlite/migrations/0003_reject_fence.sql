-- Under which claim a reject was found last: what only an earlier reading took for one goes when a later one commits.
ALTER TABLE rejects ADD COLUMN fence INTEGER NOT NULL DEFAULT 0;
