//! Alerts counted, in one reading of table `alerts`.

use sqlx::{QueryBuilder, Sqlite};

use super::alerts::push_filter;
use super::{During, SqliteStore};
use crate::state::columns::summary;
use crate::state::{AlertFilter, StateError, Summary};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

impl SqliteStore {
    pub(super) async fn summarized(&self, filter: &AlertFilter) -> Result<Summary, StateError> {
        let mut query: QueryBuilder<'_, Sqlite> = QueryBuilder::new(
            "WITH taken AS MATERIALIZED (SELECT rule_id, severity, status, kind, created_at, event_count FROM alerts
                WHERE true",
        );
        push_filter(&mut query, filter);
        query.push(format!(
            ")
            SELECT 'all' AS part, '' AS value, count(*) AS alerts, coalesce(sum(event_count), 0) AS events FROM taken
            UNION ALL SELECT 'severity', severity, count(*), 0 FROM taken GROUP BY severity
            UNION ALL SELECT 'status', status, count(*), 0 FROM taken GROUP BY status
            UNION ALL SELECT 'type', kind, count(*), 0 FROM taken GROUP BY kind
            UNION ALL SELECT 'day', date(created_at / 1000000, 'unixepoch'), count(*), 0
                FROM taken GROUP BY created_at / {DAY}
            UNION ALL SELECT * FROM (SELECT 'rule', rule_id, count(*) AS most, 0 FROM taken GROUP BY rule_id
                ORDER BY most DESC, rule_id LIMIT {})",
            Summary::RULES + 1
        ));
        let rows = query.build().fetch_all(&self.readers).await.during("count alerts")?;
        summary(&rows)
    }
}
