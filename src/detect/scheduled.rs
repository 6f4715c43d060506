//! Scheduled queries and the rules that wait for their rows. Pure.
//!
//! To the engine the rows of a query are events of a log type that stands for the query, its [`topic`]: so its rules are
//! found, run, guarded against loops and crashes, and told of as all others are. Nobody else sees that name.

use std::time::Duration;

use super::content::{Content, Problem};
use super::protocol::RuleKind;
use crate::runtime::Schedule;

/// No log type begins so: none has a colon.
const TOPIC: &str = "query:";

/// What rules over the rows of this query wait for.
pub fn topic(query: &str) -> String {
    format!("{TOPIC}{query}")
}

pub(super) fn is_topic(log_type: &str) -> bool {
    log_type.starts_with(TOPIC)
}

/// A query that runs by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduledQuery {
    pub name: String,
    pub sql: String,
    pub schedule: Schedule,
    /// A run that takes longer is stopped; `None`: as long as any search may take.
    pub timeout: Option<Duration>,
    /// Its ranges of time begin so much earlier, for events that come late.
    pub lookback: Duration,
}

impl Content {
    /// Those that are enabled, by name.
    pub fn scheduled_queries(&self) -> Vec<ScheduledQuery> {
        let enabled = self.queries.iter().filter(|query| query.enabled);
        let mut all: Vec<ScheduledQuery> = enabled.filter_map(|query| query.spec.scheduled()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// What keeps rules that are to run from ever seeing a row.
    pub fn rules_without_rows(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.enabled && rule.kind == RuleKind::ScheduledRule) {
            for name in rule.log_types.iter().filter_map(|own| own.strip_prefix(TOPIC)) {
                let message = match self.queries.iter().find(|query| query.spec.query_name == name) {
                    Some(query) if !query.spec.is_scheduled() => {
                        format!("`ScheduledQueries` names `{name}`, which has no schedule; make it a `scheduled_query`")
                    }
                    Some(query) if !query.enabled => {
                        format!(
                            "`ScheduledQueries` names `{name}`, which is not enabled, so the rule sees no row of it"
                        )
                    }
                    Some(_) => continue,
                    None => {
                        let names = self.queries.iter().map(|query| query.spec.query_name.as_str());
                        let near = crate::logtype::schema::suggestion(name, names);
                        let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                        format!("`ScheduledQueries` names `{name}`, and no folder has that query{near}")
                    }
                };
                let (file, item) = (rule.origin.clone(), Some(rule.meta.id.to_string()));
                found.push(Problem { file, line: None, item, message });
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::content;
    use super::*;

    fn read(queries: &[(&str, &str)], names: &str) -> Content {
        let folder = tempfile::tempdir().unwrap();
        for (at, (name, rest)) in queries.iter().enumerate() {
            let text = format!("QueryName: {name}\nQuery: SELECT 1\n{rest}");
            std::fs::write(folder.path().join(format!("q{at}.yml")), text).unwrap();
        }
        let rule = format!(
            "AnalysisType: scheduled_rule\nRuleID: R\nEnabled: true\nSeverity: Low\nScheduledQueries: [{names}]\n\
             Detection: [{{Key: a, Condition: Exists}}]\n"
        );
        std::fs::write(folder.path().join("r.yml"), rule).unwrap();
        content::read(&[folder.path().into()])
    }

    const DAILY: &str =
        "AnalysisType: scheduled_query\nEnabled: true\nSchedule: {RateMinutes: 1440, TimeoutMinutes: 2}\n";

    #[test]
    fn enabled_queries_have_their_schedule() {
        let off = DAILY.replace("true", "false");
        let content = read(&[("B", DAILY), ("A", DAILY), ("Off", &off), ("Saved", "AnalysisType: saved_query\n")], "A");
        assert_eq!(content.problems, []);
        let queries = content.scheduled_queries();
        assert_eq!(queries.iter().map(|query| &*query.name).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(
            (queries[0].schedule.to_string().as_str(), queries[0].timeout),
            ("every 1440 minutes", Some(Duration::from_secs(120)))
        );
        assert_eq!(content.rules_without_rows(), []);
        assert_eq!(content.rules[0].log_types, [topic("A")]);
    }

    #[test]
    fn rules_that_wait_in_vain_are_told() {
        let off = DAILY.replace("true", "false");
        let queries = [("Alpha", DAILY), ("Off", &*off), ("Saved", "AnalysisType: saved_query\n")];
        let told: Vec<String> = read(&queries, "Alhpa, Off, Saved")
            .rules_without_rows()
            .into_iter()
            .map(|problem| problem.message)
            .collect();
        assert!(told[0].contains("no folder has that query; did you mean `Alpha`?"), "{told:?}");
        assert!(told[1].contains("not enabled") && told[2].contains("no schedule"), "{told:?}");
    }
}
