-- Who does a duty that one of many daemons does at a time.
CREATE TABLE leases (
    duty    TEXT   COLLATE "C" PRIMARY KEY,
    -- Grows with every holder.
    fence   BIGINT NOT NULL,
    ends_at BIGINT NOT NULL
);
