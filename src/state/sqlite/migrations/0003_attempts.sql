-- How the tries of an object went since it last had an outcome: claims, and those of them that ended by neither outcome nor
-- release. What is given up stands in given_up, by its reason.
ALTER TABLE objects ADD COLUMN started INTEGER NOT NULL DEFAULT 0;
ALTER TABLE objects ADD COLUMN crashed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE objects ADD COLUMN first_claimed_at INTEGER;

CREATE TABLE given_up (
    object_id BLOB    NOT NULL,
    reason    TEXT    NOT NULL,
    times     INTEGER NOT NULL,
    first_at  INTEGER NOT NULL,
    last_at   INTEGER NOT NULL,
    PRIMARY KEY (object_id, reason)
) STRICT, WITHOUT ROWID;

-- The claim under which a reject was kept: a later reading of the object replaces what an earlier one saw.
ALTER TABLE rejects ADD COLUMN fence INTEGER NOT NULL DEFAULT 0;
