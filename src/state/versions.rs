//! Whether a margay can work with a database that another version of it has brought up to date. Pure.
//!
//! A migration adds, and takes nothing away: the statements of the versions before it go on working. So an update can be
//! rolled out daemon by daemon on one database, and rolled back. A migration that must do otherwise says so by its name,
//! which the database keeps; versions that do not know it then refuse to work. `tests/tidy/migrations.rs` holds the texts
//! to this, and the contract of the port is run on a database from the future.

/// What the name of a migration begins with after which the versions before it can't work.
const BREAKING: &str = "breaking_";

/// How the migrations of a database stand to those that this margay knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Some are still to be made; the last one that was made.
    Behind(i64),
    /// All were made, and others perhaps that take nothing away.
    Good,
    /// Others were made, after which this margay can't work.
    Newer,
}

/// Versions that are known, and version and name of those that were made, each in its order.
pub(super) fn standing(known: &[i64], made: &[(i64, String)]) -> Standing {
    let newest = known.last().copied().unwrap_or_default();
    let unknown = made.iter().filter(|(version, _)| !known.contains(version));
    // An unknown one among the known is of another history.
    if unknown.clone().any(|(version, name)| *version < newest || name.starts_with(BREAKING)) {
        return Standing::Newer;
    }
    let is_made = |version: &i64| made.iter().any(|(made, _)| made == version);
    if known.iter().all(is_made) {
        return Standing::Good;
    }
    Standing::Behind(known.iter().copied().filter(|version| is_made(version)).max().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_adds_is_worked_with_and_what_breaks_is_not() {
        let known = [1, 2, 3];
        let of = |made: &[(i64, &str)]| {
            let made: Vec<(i64, String)> = made.iter().map(|(version, name)| (*version, (*name).to_owned())).collect();
            standing(&known, &made)
        };
        let all = [(1, "a"), (2, "b"), (3, "c")];
        assert_eq!(of(&[]), Standing::Behind(0));
        assert_eq!(of(&all[..2]), Standing::Behind(2));
        assert_eq!(of(&all), Standing::Good);
        assert_eq!(of(&[&all[..], &[(4, "more")]].concat()), Standing::Good);
        assert_eq!(of(&[&all[..], &[(4, "more"), (5, "breaking_names")]].concat()), Standing::Newer);
        assert_eq!(of(&[(1, "a"), (9, "moved")]), Standing::Behind(1));
        assert_eq!(standing(&[1, 3], &[(1, "a".into()), (2, "of another history".into())]), Standing::Newer);
    }
}
