//! What a rule cannot do: through the real engine and real worker processes, on tables of hostile rules that lie in
//! `tests/corpus/sandbox/`.
//!
//! Every case is a rule of its own log type; beside it runs a witness, which matches as long as nothing of what it shares
//! with the case has changed. So each case shows what becomes of it and that nobody else notices.

mod cases;
mod processes;
mod protocol;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use margay::detect::{Config, Engine, LoadReport};
use margay::model::{Detections, Event, EventBatch, ObjectId, Position, RowId};
use margay::telemetry::Telemetry;
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::aws::python;
use crate::daemon::MARGAY;

/// Matches every event while what rules share is as it should be.
const WITNESS: &str = r#"
import json, re, string
import shared_helper
from panther_detection_helpers import caching

def rule(event):
    return (
        json.loads('{"a": 1}') == {"a": 1}
        and json.JSONEncoder().encode([1]) == "[1]"
        and len([1]) == 1
        and re.match("a+$", "aaa") is not None
        and string.ascii_letters != ""
        and shared_helper.yes()
        and callable(caching.get_counter)
        and event.get("list", [1]) == [1]
    )
"#;

/// An engine over rules in a folder of its own.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) telemetry: Telemetry,
    pub(crate) config: Config,
    log_types: Vec<String>,
}

impl World {
    pub(crate) fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { directories: vec![folder.path().to_owned()], workers: 1, ..Config::default() };
        let world = World { folder, telemetry: Telemetry::new(), config, log_types: Vec::new() };
        world.write("shared_helper.py", "def yes():\n    return True\n");
        world.write("shared_helper.yml", "AnalysisType: global\nGlobalID: shared_helper\nFilename: shared_helper.py\n");
        world
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// A rule over log types.
    pub(crate) fn write_rule(&self, id: &str, log_types: &[String], source: &str) {
        let log_types = log_types.join(", ");
        let text = format!(
            "AnalysisType: rule\nRuleID: {id}\nEnabled: true\nSeverity: Low\nLogTypes: [{log_types}]\nFilename: {id}.py\n"
        );
        self.write(&format!("{id}.yml"), &text);
        self.write(&format!("{id}.py"), source);
    }

    /// A rule over a log type of its own, which has the rule's name.
    pub(crate) fn rule(mut self, id: &str, source: &str) -> World {
        let log_type = format!("Custom.{id}");
        self.write_rule(id, std::slice::from_ref(&log_type), source);
        self.log_types.push(log_type);
        self
    }

    pub(crate) fn configured(mut self, change: impl FnOnce(&mut Config)) -> World {
        change(&mut self.config);
        self
    }

    async fn start(&self) -> (Engine, LoadReport) {
        self.start_as(MARGAY.into()).await.unwrap()
    }

    /// With another program for its workers.
    async fn start_as(&self, program: PathBuf) -> Result<(Engine, LoadReport), margay::detect::DetectError> {
        self.write_rule("Witness", &self.log_types, WITNESS);
        let log_types = Arc::new(margay::logtype::Registry::built_in());
        let surroundings = margay::lookup::Surroundings::fixed(log_types, Arc::new(margay::runtime::SystemClock));
        Engine::start(&self.config, program, self.telemetry.clone(), surroundings).await
    }

    /// A program in Python that stands where the margay binary should be.
    fn program(&self, name: &str, source: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, format!("#!{}\n{source}", python::interpreter().display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    pub(crate) fn metric(&self, sample: &str) -> u64 {
        let text = self.telemetry.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }
}

pub(crate) fn event(rule: &str, number: u64, fields: &str) -> Event {
    Event {
        log_type: format!("Custom.{rule}").into(),
        row_id: RowId::new(ObjectId([0; 16]), number, 0),
        position: Position { ordinal: number, index: 0 },
        time: OffsetDateTime::UNIX_EPOCH,
        fields: serde_json::from_str(fields).unwrap(),
    }
}

pub(crate) fn batch(events: Vec<Event>) -> Arc<EventBatch> {
    let bytes = events.len() as u64;
    Arc::new(EventBatch { object: ObjectId([0; 16]), source: "test".into(), events, rejects: Vec::new(), bytes })
}

pub(crate) fn matches(detections: &Detections, rule: &str) -> usize {
    detections.matches.iter().filter(|found| &*found.rule.id == rule).count()
}
