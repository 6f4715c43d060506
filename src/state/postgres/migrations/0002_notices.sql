-- Alerts that a rule opened in an hour, and how many of them were held back. kind is RULE or RULE_ERROR.
CREATE TABLE alert_hours (
    rule_id TEXT   COLLATE "C" NOT NULL,
    kind    TEXT   COLLATE "C" NOT NULL,
    hour    BIGINT NOT NULL,
    opened  BIGINT NOT NULL,
    held    BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (rule_id, kind, hour)
) WITH (fillfactor = 50);

-- The last time at which something was so.
CREATE TABLE noted (
    fact    TEXT   COLLATE "C" NOT NULL,
    subject TEXT   COLLATE "C" NOT NULL,
    at      BIGINT NOT NULL,
    detail  TEXT   NOT NULL,
    PRIMARY KEY (fact, subject)
) WITH (fillfactor = 50);

-- What a delivery tells: OPENED, UPDATED or RESOLVED. follow is what it tells next. A state more: held, which waits for
-- nothing.
ALTER TABLE deliveries ADD COLUMN news TEXT COLLATE "C" NOT NULL DEFAULT 'OPENED';
ALTER TABLE deliveries ADD COLUMN follow TEXT COLLATE "C";
