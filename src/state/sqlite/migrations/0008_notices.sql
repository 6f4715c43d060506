-- Alerts that a rule opened in an hour, and how many of them were held back. kind is RULE or RULE_ERROR.
CREATE TABLE alert_hours (
    rule_id TEXT    NOT NULL,
    kind    TEXT    NOT NULL,
    hour    INTEGER NOT NULL,
    opened  INTEGER NOT NULL,
    held    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (rule_id, kind, hour)
) STRICT;

-- The last time at which something was so.
CREATE TABLE noted (
    fact    TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    detail  TEXT    NOT NULL,
    PRIMARY KEY (fact, subject)
) STRICT;

-- What a delivery tells: OPENED, UPDATED or RESOLVED. follow is what it tells next. A state more: held, which waits for
-- nothing.
ALTER TABLE deliveries ADD COLUMN news TEXT NOT NULL DEFAULT 'OPENED';
ALTER TABLE deliveries ADD COLUMN follow TEXT;
