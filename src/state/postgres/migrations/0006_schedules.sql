-- When scheduled queries are due, and how their last runs went.
CREATE TABLE schedules (
    query      TEXT   COLLATE "C" PRIMARY KEY,
    -- By which due was chosen.
    schedule   TEXT   NOT NULL,
    -- The run that is next, or at work.
    due        BIGINT NOT NULL,
    -- How often it was tried in vain.
    tries      BIGINT NOT NULL DEFAULT 0,
    not_before BIGINT NOT NULL,
    -- Runs that failed since the last one that succeeded.
    failures   BIGINT NOT NULL DEFAULT 0,
    -- How the last run ended, as JSON.
    last       TEXT,
    -- What the query found for the run that is due, until that has ended.
    rows       BYTEA,
    rows_cut   BIGINT,
    rows_at    BIGINT
);

-- Runs are rows of the ledger.
CREATE INDEX objects_runs ON objects (claimed_at) WHERE bucket = 'margay:scheduled';
