-- A position is the ordinal of a record and the number of its event. All of an object here goes when the object is finished for good.

-- How far an object has come in a table of the lake.
CREATE TABLE lake_progress (
    object_id  BLOB    NOT NULL,
    lake_table TEXT    NOT NULL,
    ordinal    INTEGER NOT NULL,
    event      INTEGER NOT NULL,
    PRIMARY KEY (object_id, lake_table)
) STRICT, WITHOUT ROWID;

-- Commits that were begun and are not known to have reached their table, by object: rows up to this position.
CREATE TABLE lake_intents (
    object_id  BLOB    NOT NULL,
    lake_table TEXT    NOT NULL,
    commit_id  BLOB    NOT NULL,
    ordinal    INTEGER NOT NULL,
    event      INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (object_id, lake_table, commit_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX lake_intents_of_commit ON lake_intents (commit_id);
