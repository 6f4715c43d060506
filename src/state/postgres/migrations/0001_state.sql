-- The tables of the SQLite adapter at its version 7. Times are microseconds since 1970 UTC. Ids of objects and rows are 16
-- bytes that are written as 32 hex digits. Texts are compared byte by byte, whatever the database's collation is.

-- The object ledger. An object is claimed while claimed_until is set, and finished once state is.
CREATE TABLE objects (
    id               BYTEA  NOT NULL PRIMARY KEY,
    bucket           TEXT   COLLATE "C" NOT NULL,
    key              TEXT   COLLATE "C" NOT NULL,
    version_id       TEXT,
    etag             TEXT,
    size             BIGINT,
    source           TEXT   COLLATE "C" NOT NULL,
    fence            BIGINT NOT NULL,
    claimed_until    BIGINT,
    -- Of the last claim, and of the first since the object last had an outcome.
    claimed_at       BIGINT NOT NULL,
    first_claimed_at BIGINT NOT NULL,
    -- How the tries went since it last had an outcome: claims, and those that ended by neither outcome nor release.
    started          BIGINT NOT NULL,
    crashed          BIGINT NOT NULL DEFAULT 0,
    state            TEXT   COLLATE "C",
    reason           TEXT   NOT NULL DEFAULT '',
    -- How an object that is claimed again had ended before.
    open_state       TEXT   COLLATE "C",
    open_reason      TEXT   NOT NULL DEFAULT '',
    events           BIGINT NOT NULL DEFAULT 0,
    rejects          BIGINT NOT NULL DEFAULT 0,
    bytes            BIGINT NOT NULL DEFAULT 0,
    finished_at      BIGINT
) WITH (fillfactor = 80);
CREATE INDEX objects_open ON objects (id)
    WHERE coalesce(state, open_state) IN ('unrouted', 'missing', 'archived', 'parked', 'quarantined', 'partial');
-- A hash, because a key may be longer than an entry of an ordered index.
CREATE INDEX objects_of_key ON objects USING hash (key);
CREATE INDEX objects_done ON objects (finished_at)
    WHERE state IN ('committed', 'empty', 'folder', 'excluded', 'superseded');
CREATE INDEX objects_unfinished ON objects (claimed_at) WHERE coalesce(state, open_state) IS NULL;
CREATE INDEX objects_unrouted ON objects (finished_at) WHERE coalesce(state, open_state) = 'unrouted';

-- Claims that were given up, by the reason for it.
CREATE TABLE given_up (
    object_id BYTEA  NOT NULL,
    reason    TEXT   COLLATE "C" NOT NULL,
    times     BIGINT NOT NULL,
    first_at  BIGINT NOT NULL,
    last_at   BIGINT NOT NULL,
    PRIMARY KEY (object_id, reason)
);

-- Every match and fault, once. alert_id is that of its window, whether or not the threshold was reached; a signal has none.
CREATE TABLE matches (
    rule_id      TEXT   COLLATE "C" NOT NULL,
    kind         TEXT   COLLATE "C" NOT NULL,
    row_id       BYTEA  NOT NULL,
    rule_version TEXT   NOT NULL,
    object_id    BYTEA  NOT NULL,
    log_type     TEXT   NOT NULL,
    event_time   BIGINT NOT NULL,
    recorded_at  BIGINT NOT NULL,
    alert_id     TEXT   COLLATE "C",
    detail       TEXT   NOT NULL,
    PRIMARY KEY (rule_id, kind, row_id)
);
CREATE INDEX matches_of_alert ON matches (alert_id) WHERE alert_id IS NOT NULL;

-- The latest window of each group. group_id stands for rule, kind and dedup string, which may be long.
CREATE TABLE windows (
    group_id       TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    rule_id        TEXT   COLLATE "C" NOT NULL,
    kind           TEXT   COLLATE "C" NOT NULL,
    dedup          TEXT   COLLATE "C" NOT NULL,
    number         BIGINT NOT NULL,
    started_at     BIGINT NOT NULL,
    period_minutes BIGINT NOT NULL,
    event_count    BIGINT NOT NULL,
    log_types      TEXT   NOT NULL,
    updated_at     BIGINT NOT NULL,
    alerted_at     BIGINT,
    opening        TEXT   NOT NULL
) WITH (fillfactor = 80);

-- Hashes of the unique values that the latest window of a group has counted.
CREATE TABLE window_values (
    alert_id TEXT  COLLATE "C" NOT NULL,
    value    BYTEA NOT NULL,
    PRIMARY KEY (alert_id, value)
);

-- What people see, and where they say it stands. opening holds what the first match of the window said and is never
-- changed.
CREATE TABLE alerts (
    id              TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    rule_id         TEXT   COLLATE "C" NOT NULL,
    kind            TEXT   COLLATE "C" NOT NULL,
    dedup           TEXT   COLLATE "C" NOT NULL,
    title           TEXT   NOT NULL,
    severity        TEXT   COLLATE "C" NOT NULL,
    status          TEXT   COLLATE "C" NOT NULL,
    event_count     BIGINT NOT NULL,
    log_types       TEXT   NOT NULL,
    first_match_at  BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    opening         TEXT   NOT NULL,
    assignee        TEXT   COLLATE "C",
    last_updated_by TEXT,
    last_updated_at BIGINT
) WITH (fillfactor = 80);
CREATE INDEX alerts_newest ON alerts (created_at, id);
CREATE INDEX alerts_of_rule ON alerts (rule_id, created_at, id);

-- Every change that people made; field is status, assignee, comment or resent.
CREATE TABLE alert_changes (
    alert_id TEXT   COLLATE "C" NOT NULL,
    at       BIGINT NOT NULL,
    by       TEXT   NOT NULL,
    field    TEXT   COLLATE "C" NOT NULL,
    before   TEXT   NOT NULL,
    after    TEXT   NOT NULL,
    -- Orders what happened at the same time.
    number   BIGINT GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX alert_changes_of_alert ON alert_changes (alert_id, number);

-- The outbox: pending, delivered or failed. A person who sends one again makes it pending once more.
CREATE TABLE deliveries (
    alert_id     TEXT   COLLATE "C" NOT NULL,
    destination  TEXT   COLLATE "C" NOT NULL,
    state        TEXT   COLLATE "C" NOT NULL DEFAULT 'pending',
    attempts     BIGINT NOT NULL DEFAULT 0,
    next_attempt BIGINT NOT NULL,
    leased_until BIGINT,
    last_error   TEXT,
    finished_at  BIGINT,
    resent       BIGINT NOT NULL DEFAULT 0,
    number       BIGINT GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (alert_id, destination)
);
CREATE INDEX deliveries_to ON deliveries (destination, next_attempt, number) WHERE state = 'pending';

-- Every attempt to deliver one. status is that of HTTP, where there was an answer; success is 0 or 1.
CREATE TABLE delivery_attempts (
    alert_id    TEXT   COLLATE "C" NOT NULL,
    destination TEXT   COLLATE "C" NOT NULL,
    attempt     BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    status      BIGINT,
    success     BIGINT NOT NULL,
    message     TEXT   NOT NULL,
    number      BIGINT GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX delivery_attempts_of_alert ON delivery_attempts (alert_id, number);

-- Messages, or parts of them, that are no notification. One message can hold several such parts.
CREATE TABLE quarantined_messages (
    message_id TEXT   COLLATE "C" NOT NULL,
    body_hash  BYTEA  NOT NULL,
    body       BYTEA  NOT NULL,
    reason     TEXT   NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (message_id, body_hash)
);
CREATE INDEX quarantined_messages_newest ON quarantined_messages (at);

-- Records that became no event, with the claim under which they were kept: a later reading replaces what an earlier one saw.
CREATE TABLE rejects (
    object_id BYTEA  NOT NULL,
    ordinal   BIGINT NOT NULL,
    raw       BYTEA  NOT NULL,
    reason    TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    fence     BIGINT NOT NULL,
    PRIMARY KEY (object_id, ordinal)
);
CREATE INDEX rejects_newest ON rejects (at);

-- How far an object has come in a table of the lake. A position is the ordinal of a record and the number of its event.
CREATE TABLE lake_progress (
    object_id  BYTEA  NOT NULL,
    lake_table TEXT   COLLATE "C" NOT NULL,
    ordinal    BIGINT NOT NULL,
    event      BIGINT NOT NULL,
    PRIMARY KEY (object_id, lake_table)
);

-- Commits that were begun and are not known to have reached their table, by object: rows up to this position.
CREATE TABLE lake_intents (
    object_id  BYTEA  NOT NULL,
    lake_table TEXT   COLLATE "C" NOT NULL,
    commit_id  BYTEA  NOT NULL,
    ordinal    BIGINT NOT NULL,
    event      BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (object_id, lake_table, commit_id)
);
CREATE INDEX lake_intents_of_commit ON lake_intents (commit_id);

-- How far a listing has come, by what it lists.
CREATE TABLE checkpoints (
    name     TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    position TEXT   NOT NULL,
    at       BIGINT NOT NULL
);

-- One row: objects that were finished before this time may be unknown.
CREATE TABLE forgotten (
    one    BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    before BIGINT NOT NULL
);

-- The last revision of the schema of each log type that events were made of. Names are equal in any case.
CREATE TABLE schema_revisions (
    log_type TEXT   COLLATE "C" NOT NULL,
    version  BIGINT NOT NULL,
    text     TEXT   NOT NULL,
    at       BIGINT NOT NULL
);
CREATE UNIQUE INDEX schema_revisions_of_log_type ON schema_revisions (lower(log_type));

-- Fields that records have and that revision has not.
CREATE TABLE unknown_fields (
    log_type TEXT   COLLATE "C" NOT NULL,
    path     TEXT   COLLATE "C" NOT NULL,
    kind     TEXT   NOT NULL,
    at       BIGINT NOT NULL
);
CREATE UNIQUE INDEX unknown_fields_of_log_type ON unknown_fields (lower(log_type), path);
