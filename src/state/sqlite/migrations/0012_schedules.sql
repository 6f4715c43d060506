-- When scheduled queries are due, and how their last runs went.
CREATE TABLE schedules (
    query      TEXT    PRIMARY KEY,
    -- By which due was chosen.
    schedule   TEXT    NOT NULL,
    -- The run that is next, or at work.
    due        INTEGER NOT NULL,
    -- How often it was tried in vain.
    tries      INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER NOT NULL,
    -- Runs that failed since the last one that succeeded.
    failures   INTEGER NOT NULL DEFAULT 0,
    -- How the last run ended, as JSON.
    last       TEXT,
    -- What the query found for the run that is due, until that has ended.
    rows       BLOB,
    rows_cut   INTEGER,
    rows_at    INTEGER
) STRICT;

-- Runs are rows of the ledger.
CREATE INDEX objects_runs ON objects (claimed_at) WHERE bucket = 'margay:scheduled';
