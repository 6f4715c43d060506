-- What rules keep between events, by key. The rule is the one that changed it last; it is charged for it.
CREATE TABLE items (
    key        TEXT    NOT NULL PRIMARY KEY,
    value      TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    rule       TEXT    NOT NULL,
    charge     INTEGER NOT NULL
) STRICT;
CREATE INDEX items_ending ON items (expires_at);

-- The sum of what a rule is charged for.
CREATE TABLE item_charges (
    rule  TEXT    NOT NULL PRIMARY KEY,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The calls of a rule on an event with their answers, a line each, until the object has ended for good.
CREATE TABLE rule_calls (
    object_id BLOB    NOT NULL,
    row_id    BLOB    NOT NULL,
    rule      TEXT    NOT NULL,
    count     INTEGER NOT NULL,
    calls     TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (object_id, row_id, rule)
) STRICT;
CREATE INDEX rule_calls_oldest ON rule_calls (at);
