-- What rules keep between events, by key. The rule is the one that changed it last; it is charged for it.
CREATE TABLE items (
    key        TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    value      TEXT   NOT NULL,
    expires_at BIGINT NOT NULL,
    rule       TEXT   COLLATE "C" NOT NULL,
    charge     BIGINT NOT NULL
);
CREATE INDEX items_ending ON items (expires_at);

-- The sum of what a rule is charged for.
CREATE TABLE item_charges (
    rule  TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    bytes BIGINT NOT NULL
);

-- The calls of a rule on an event with their answers, a line each, until the object has ended for good.
CREATE TABLE rule_calls (
    object_id BYTEA  NOT NULL,
    row_id    BYTEA  NOT NULL,
    rule      TEXT   COLLATE "C" NOT NULL,
    count     BIGINT NOT NULL,
    calls     TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (object_id, row_id, rule)
);
CREATE INDEX rule_calls_oldest ON rule_calls (at);
