-- The last revision of the schema of each log type that events were made of.
CREATE TABLE schema_revisions (
    log_type TEXT    NOT NULL COLLATE NOCASE PRIMARY KEY,
    version  INTEGER NOT NULL,
    text     TEXT    NOT NULL,
    at       INTEGER NOT NULL
) STRICT;

-- Fields that records have and that revision has not.
CREATE TABLE unknown_fields (
    log_type TEXT    NOT NULL COLLATE NOCASE,
    path     TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (log_type, path)
) STRICT, WITHOUT ROWID;
