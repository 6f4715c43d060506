-- Times are microseconds since 1970 UTC. Ids of objects and rows are the 16 bytes that are written as 32 hex digits.

-- The object ledger. An object is claimed while claimed_until is set, and finished once state is.
CREATE TABLE objects (
    id            BLOB    NOT NULL PRIMARY KEY,
    bucket        TEXT    NOT NULL,
    key           TEXT    NOT NULL,
    version_id    TEXT,
    etag          TEXT,
    size          INTEGER,
    source        TEXT    NOT NULL,
    fence         INTEGER NOT NULL,
    claimed_until INTEGER,
    state         TEXT,
    reason        TEXT    NOT NULL DEFAULT '',
    events        INTEGER NOT NULL DEFAULT 0,
    rejects       INTEGER NOT NULL DEFAULT 0,
    bytes         INTEGER NOT NULL DEFAULT 0,
    finished_at   INTEGER
) STRICT;
CREATE INDEX objects_claimed ON objects (claimed_until) WHERE claimed_until IS NOT NULL;

-- Every match and fault, once. alert_id is that of its window, whether or not the threshold was reached; a signal has none.
CREATE TABLE matches (
    rule_id      TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    row_id       BLOB    NOT NULL,
    rule_version TEXT    NOT NULL,
    object_id    BLOB    NOT NULL,
    log_type     TEXT    NOT NULL,
    event_time   INTEGER NOT NULL,
    recorded_at  INTEGER NOT NULL,
    alert_id     TEXT,
    detail       TEXT    NOT NULL,
    PRIMARY KEY (rule_id, kind, row_id)
) STRICT;
CREATE INDEX matches_of_alert ON matches (alert_id) WHERE alert_id IS NOT NULL;

-- The latest window of each group.
CREATE TABLE windows (
    rule_id        TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    dedup          TEXT    NOT NULL,
    number         INTEGER NOT NULL,
    started_at     INTEGER NOT NULL,
    period_minutes INTEGER NOT NULL,
    event_count    INTEGER NOT NULL,
    log_types      TEXT    NOT NULL,
    updated_at     INTEGER NOT NULL,
    alerted_at     INTEGER,
    opening        TEXT    NOT NULL,
    PRIMARY KEY (rule_id, kind, dedup)
) STRICT;

-- Hashes of the unique values that the latest window of a group has counted.
CREATE TABLE window_values (
    alert_id TEXT NOT NULL,
    value    BLOB NOT NULL,
    PRIMARY KEY (alert_id, value)
) STRICT, WITHOUT ROWID;

-- What people see. opening holds what the first match of the window said and is never changed.
CREATE TABLE alerts (
    id             TEXT    NOT NULL PRIMARY KEY,
    rule_id        TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    dedup          TEXT    NOT NULL,
    title          TEXT    NOT NULL,
    severity       TEXT    NOT NULL,
    status         TEXT    NOT NULL,
    event_count    INTEGER NOT NULL,
    log_types      TEXT    NOT NULL,
    first_match_at INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    opening        TEXT    NOT NULL
) STRICT;
CREATE INDEX alerts_newest ON alerts (created_at);
CREATE INDEX alerts_of_rule ON alerts (rule_id, created_at);

-- The outbox: pending, delivered or failed. Rows stay as the record of what was sent where.
CREATE TABLE deliveries (
    alert_id     TEXT    NOT NULL,
    destination  TEXT    NOT NULL,
    state        TEXT    NOT NULL DEFAULT 'pending',
    attempts     INTEGER NOT NULL DEFAULT 0,
    next_attempt INTEGER NOT NULL,
    leased_until INTEGER,
    last_error   TEXT,
    finished_at  INTEGER,
    PRIMARY KEY (alert_id, destination)
) STRICT;
CREATE INDEX deliveries_pending ON deliveries (next_attempt) WHERE state = 'pending';

-- Messages, or parts of them, that are no notification. One message can hold several such parts.
CREATE TABLE quarantined_messages (
    message_id TEXT    NOT NULL,
    body_hash  BLOB    NOT NULL,
    body       TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (message_id, body_hash)
) STRICT;
CREATE INDEX quarantined_messages_newest ON quarantined_messages (at);

-- Records that became no event.
CREATE TABLE rejects (
    object_id BLOB    NOT NULL,
    ordinal   INTEGER NOT NULL,
    raw       BLOB    NOT NULL,
    reason    TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (object_id, ordinal)
) STRICT;
CREATE INDEX rejects_newest ON rejects (at);
