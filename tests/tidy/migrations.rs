//! A migration of the state adds, and takes nothing away: the statements of the version before it go on working, so that
//! an update can be rolled out daemon by daemon, and rolled back. One that must do otherwise is named `NNNN_breaking_….sql`,
//! and versions that do not know it refuse the database (`src/state/versions.rs`).

use std::collections::BTreeSet;

use super::{entries, from_root, none, read, root};

const FOLDERS: [&str; 2] = ["src/state/sqlite/migrations", "src/state/postgres/migrations"];

/// What is known of a folder so far, from file to file.
#[derive(Default)]
struct Known {
    unique_indexes: BTreeSet<String>,
}

/// What the file at hand has made: nothing before it can rely on that being otherwise.
#[derive(Default)]
struct Own {
    tables: BTreeSet<String>,
    columns: BTreeSet<String>,
}

/// The statements of a file, in capitals and with single spaces; what stands in quotes there has no semicolon.
fn statements(text: &str) -> Vec<String> {
    let code: String =
        text.lines().map(|line| line.split("--").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let plain = |statement: &str| statement.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase();
    code.split(';').map(plain).filter(|statement| !statement.is_empty()).collect()
}

/// The word behind these words.
fn behind<'s>(statement: &'s str, words: &str) -> Option<&'s str> {
    let at = statement.find(words)? + words.len();
    statement[at..].split(|c: char| c.is_whitespace() || c == '(' || c == ',').find(|word| !word.is_empty())
}

/// What would break with the version before; `None` for what only adds.
fn breaks(statement: &str, known: &mut Known, own: &mut Own) -> Option<String> {
    let word = |words: &str| behind(statement, words).unwrap_or_default().to_owned();
    if statement.starts_with("CREATE TABLE ") {
        own.tables.insert(word("CREATE TABLE "));
        return None;
    }
    if statement.starts_with("CREATE INDEX ") {
        return None;
    }
    if statement.starts_with("CREATE UNIQUE INDEX ") {
        known.unique_indexes.insert(word("CREATE UNIQUE INDEX "));
        let table = word(" ON ");
        let is_own = own.tables.contains(&table);
        return (!is_own).then(|| format!("refuses rows of {table} that the version before may write"));
    }
    if statement.starts_with("DROP INDEX ") {
        let index = word("DROP INDEX ");
        let is_relied_on = known.unique_indexes.contains(&index);
        return is_relied_on.then(|| format!("takes the unique index {index} away, which ON CONFLICT may name"));
    }
    if statement.starts_with("ALTER TABLE ") {
        let table = word("ALTER TABLE ");
        let changes = statement.split_once(&format!("{table} ")).map_or("", |(_, changes)| changes);
        // No default that is used has a comma.
        for change in changes.split(", ") {
            if !change.starts_with("ADD COLUMN ") || change.contains("UNIQUE") || change.contains("PRIMARY KEY") {
                return Some(format!("changes {table} by `{change}`"));
            }
            if change.contains("NOT NULL") && !change.contains("DEFAULT") {
                return Some(format!("adds to {table} what the version before does not give: `{change}`"));
            }
            own.columns.insert(behind(change, "ADD COLUMN ").unwrap_or_default().to_owned());
        }
        return None;
    }
    let (table, column) = (word("UPDATE "), word(" SET "));
    if statement.starts_with("UPDATE ") && (own.tables.contains(&table) || own.columns.contains(&column)) {
        return None;
    }
    if statement.starts_with("INSERT INTO ") && own.tables.contains(&word("INSERT INTO ")) {
        return None;
    }
    Some("is none of CREATE TABLE, CREATE INDEX, ADD COLUMN, and filling what is new".to_owned())
}

/// What is wrong with files in their order: names and texts.
fn broken(files: &[(String, String)]) -> Vec<String> {
    let mut known = Known::default();
    let mut broken = Vec::new();
    for (name, text) in files {
        let mut own = Own::default();
        let is_announced =
            name.rsplit('/').next().is_some_and(|name| name.get(5..).unwrap_or("").starts_with("breaking_"));
        for statement in statements(text) {
            if let Some(why) = breaks(&statement, &mut known, &mut own).filter(|_| !is_announced) {
                broken.push(format!("{name} {why}; add only, or name it NNNN_breaking_….sql: {statement}"));
            }
        }
    }
    broken
}

#[test]
fn migrations_only_add() {
    for folder in FOLDERS {
        let mut names: Vec<String> = entries(&root().join(folder)).iter().map(|path| from_root(path)).collect();
        names.sort();
        let files: Vec<(String, String)> = names.into_iter().map(|name| (name.clone(), read(&name))).collect();
        assert!(!files.is_empty(), "{folder}");
        none(broken(&files));
    }
}

#[test]
fn what_takes_something_away_is_found() {
    let first =
        "CREATE TABLE a (x TEXT NOT NULL, y TEXT); -- a comment; with a semicolon\nCREATE UNIQUE INDEX a_x ON a (x);";
    let of = |name: &str, text: &str| {
        broken(&[("0001_first.sql".to_owned(), first.to_owned()), (name.to_owned(), text.to_owned())])
    };
    for good in [
        "ALTER TABLE a ADD COLUMN z TEXT; UPDATE a SET z = y;",
        "ALTER TABLE a ADD COLUMN z BIGINT NOT NULL DEFAULT 0, ADD COLUMN w TEXT; CREATE INDEX a_z ON a (z); DROP INDEX a_z;",
        "CREATE TABLE b (x TEXT); CREATE UNIQUE INDEX b_x ON b (x); INSERT INTO b VALUES ('1');",
    ] {
        assert_eq!(of("0002_more.sql", good), [""; 0], "{good}");
    }
    for bad in [
        "DROP TABLE a",
        "ALTER TABLE a DROP COLUMN y",
        "ALTER TABLE a RENAME COLUMN y TO z",
        "ALTER TABLE a RENAME TO b",
        "ALTER TABLE a ALTER COLUMN y SET NOT NULL",
        "ALTER TABLE a ADD CONSTRAINT c CHECK (y <> '')",
        "ALTER TABLE a ADD COLUMN z TEXT NOT NULL",
        "ALTER TABLE a ADD COLUMN z TEXT UNIQUE",
        "CREATE UNIQUE INDEX a_y ON a (y)",
        "DROP INDEX a_x",
        "UPDATE a SET y = lower(y)",
        "DELETE FROM a",
        "INSERT INTO a VALUES ('1')",
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1",
    ] {
        assert_eq!(of("0002_more.sql", bad).len(), 1, "{bad}");
        assert_eq!(of("0002_breaking_more.sql", bad), [""; 0], "{bad}");
    }
}
