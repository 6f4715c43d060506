-- What a destination calls the ticket that it has made of an alert: later news goes there.
ALTER TABLE deliveries ADD COLUMN ticket TEXT;

-- Of the alerts that were opened in the hour, those that count no more because a person has let the rule go on.
ALTER TABLE alert_hours ADD COLUMN forgiven INTEGER NOT NULL DEFAULT 0;

-- Rules that a person has let go on after they were stopped or held back.
CREATE TABLE rule_lifts (
    id      INTEGER PRIMARY KEY,
    rule_id TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    by      TEXT    NOT NULL,
    reason  TEXT    NOT NULL
) STRICT;
