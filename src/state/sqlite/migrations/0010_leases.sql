-- Who does a duty that one of many daemons does at a time.
CREATE TABLE leases (
    duty    TEXT    PRIMARY KEY,
    -- Grows with every holder.
    fence   INTEGER NOT NULL,
    ends_at INTEGER NOT NULL
) STRICT;
