-- What people do with alerts, and every attempt to deliver one.

ALTER TABLE alerts ADD COLUMN assignee TEXT;
ALTER TABLE alerts ADD COLUMN last_updated_by TEXT;
ALTER TABLE alerts ADD COLUMN last_updated_at INTEGER;

-- field is status, assignee, comment or resent.
CREATE TABLE alert_changes (
    id       INTEGER PRIMARY KEY,
    alert_id TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    by       TEXT    NOT NULL,
    field    TEXT    NOT NULL,
    before   TEXT    NOT NULL,
    after    TEXT    NOT NULL
) STRICT;
CREATE INDEX alert_changes_of_alert ON alert_changes (alert_id);

ALTER TABLE deliveries ADD COLUMN resent INTEGER NOT NULL DEFAULT 0;
CREATE INDEX deliveries_to ON deliveries (destination, next_attempt) WHERE state = 'pending';
DROP INDEX deliveries_pending;

CREATE TABLE delivery_attempts (
    id          INTEGER PRIMARY KEY,
    alert_id    TEXT    NOT NULL,
    destination TEXT    NOT NULL,
    attempt     INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    status      INTEGER,
    success     INTEGER NOT NULL,
    message     TEXT    NOT NULL
) STRICT;
CREATE INDEX delivery_attempts_of_alert ON delivery_attempts (alert_id);
