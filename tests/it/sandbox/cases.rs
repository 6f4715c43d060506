//! The tables: ways out of a rule, and rules that would take for ever or all there is.

use std::collections::BTreeMap;

use margay::detect::Engine;
use margay::model::Detections;
use serde::Deserialize;

use super::{World, batch, event, matches};
use crate::daemon::shipped;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Case {
    name: String,
    source: String,
    event: BTreeMap<String, serde_json::Value>,
    /// Classes that the fault may have.
    error: Vec<String>,
    /// Part of the fault's text.
    says: String,
    /// It may match.
    matches: bool,
    /// Whatever becomes of it: only the others count.
    anything: bool,
}

impl Default for Case {
    fn default() -> Case {
        Case {
            name: String::new(),
            source: String::new(),
            event: [("list".to_owned(), serde_json::json!([1]))].into(),
            error: Vec::new(),
            says: String::new(),
            matches: false,
            anything: false,
        }
    }
}

impl Case {
    /// What is wrong with what became of it.
    fn wrong(&self, id: &str, found: &Detections) -> Option<String> {
        let fault = found.faults.iter().find(|fault| &*fault.rule.id == id);
        let fine = match fault {
            _ if self.anything => true,
            Some(fault) => self.error.contains(&fault.error_type) && fault.message.contains(&self.says),
            // What runs out of time on one machine may be done in time on another.
            None if self.error.len() > 1 && self.error.iter().any(|error| error == "RuleTimeout") => true,
            None => self.matches && matches(found, id) == 1,
        };
        let became = fault.map_or("no fault".to_owned(), |fault| format!("{}: {}", fault.error_type, fault.message));
        (!fine).then(|| format!("{}: {became}", self.name))
    }
}

fn table(name: &str) -> Vec<Case> {
    let path = shipped(&format!("tests/corpus/sandbox/{name}.yml"));
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// One import in a rule for each module of a reason.
fn imports() -> Vec<Case> {
    let path = shipped("tests/corpus/sandbox/imports.yml");
    let modules: BTreeMap<String, Vec<String>> =
        serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let one = |reason: &str, module: &str| Case {
        name: format!("import {module}"),
        source: format!("def rule(event):\n    import {module}\n    return True\n"),
        error: vec!["ImportError".to_owned()],
        says: format!("module '{module}' is not available: {reason}"),
        ..Case::default()
    };
    modules.iter().flat_map(|(reason, modules)| modules.iter().map(move |module| one(reason, module))).collect()
}

fn id(at: usize) -> String {
    format!("Case{at}")
}

/// Each case sees one event; in `batches` at a time, each on a worker of its own.
async fn run(cases: &[Case], batches: usize, call_timeout_ms: u64) -> World {
    let mut world = World::new().configured(|config| {
        config.workers = batches;
        config.call_timeout_ms = call_timeout_ms;
    });
    for (at, case) in cases.iter().enumerate() {
        world = world.rule(&id(at), &case.source);
    }
    let (engine, _) = world.start().await;
    let events = |(at, case): (usize, &Case)| event(&id(at), at as u64, &serde_json::to_string(&case.event).unwrap());
    let all: Vec<_> = cases.iter().enumerate().map(events).collect();
    let size = all.len().div_ceil(batches);
    let found = futures_util::future::join_all(all.chunks(size).map(|part| evaluate(&engine, part.to_vec()))).await;
    let mut wrong = Vec::new();
    for (number, detections) in found.iter().enumerate() {
        let share = (number * size..cases.len().min((number + 1) * size)).map(|at| (at, &cases[at]));
        wrong.extend(share.clone().filter_map(|(at, case)| case.wrong(&id(at), detections)));
        let witnessed = matches(detections, "Witness");
        if witnessed != share.len() {
            wrong.push(format!("of {} events the witness saw {witnessed}", share.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world
}

async fn evaluate(engine: &Engine, events: Vec<margay::model::Event>) -> Detections {
    engine.evaluate(&batch(events)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_out_of_a_rule_ends_at_a_wall() {
    let cases: Vec<Case> = table("escapes").into_iter().chain(imports()).collect();
    let world = run(&cases, 1, 10_000).await;
    let tampered = cases.iter().filter(|case| case.error == ["RuleTampering"]).count() as u64;
    let replaced = world.metric(r#"margay_rule_worker_restarts_total{reason="tampering"}"#);
    // One is refused when it is loaded, and costs no worker.
    assert_eq!(replaced, tampered - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bomb_costs_another_rule_a_call() {
    let world = run(&table("bombs"), 2, 1_000).await;
    assert!(world.metric(r#"margay_rule_worker_restarts_total{reason="timeout"}"#) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_hoards_memory_costs_the_others_nothing() {
    let hoard = "kept = []\ndef rule(event):\n    kept.append(bytes(20_000_000))\n    return False\n";
    let world = World::new().configured(|config| config.worker_memory_mib = 1024).rule("Hoard", hoard);
    let (engine, _) = world.start().await;
    for number in 0..20 {
        let found = evaluate(&engine, (0..8).map(|at| event("Hoard", number * 8 + at, "{}")).collect()).await;
        assert_eq!((matches(&found, "Witness"), found.faults.len()), (8, 0));
    }
    assert!(world.metric(r#"margay_rule_worker_restarts_total{reason="memory"}"#) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_goes_on_misbehaving_is_switched_off_and_the_others_go_on() {
    let rule = "def rule(event):\n    while event.get('bad'): pass\n    return True\n";
    let world = World::new().configured(|config| config.call_timeout_ms = 200).rule("Bomb", rule);
    let (engine, _) = world.start().await;
    let found = evaluate(&engine, (0..8).map(|at| event("Bomb", at, r#"{"bad":true}"#)).collect()).await;
    let faults: Vec<&str> = found.faults.iter().map(|fault| fault.error_type.as_str()).collect();
    assert_eq!((matches(&found, "Witness"), faults.len()), (8, 6), "five strikes, and one word about the rest");
    assert!(faults.contains(&"RuleDisabled"), "{faults:?}");
    assert_eq!(world.metric(r#"margay_rules_disabled_total{rule="Bomb"}"#), 1);
    let off: Vec<_> = found.switched_off.iter().map(|off| (&*off.rule.id, off.pause.as_secs())).collect();
    assert_eq!(off, [("Bomb", 600)]);
    assert_eq!(found.switched_off[0].cause, "a rule overran its time in `rule`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_has_a_successor_before_its_batch_is_answered() {
    let rule = "def rule(event):\n    while event.get('bad'): pass\n    return True\n";
    let world = World::new().configured(|config| config.call_timeout_ms = 200).rule("Bomb", rule);
    let (engine, _) = world.start().await;
    let of = |fields: &str, number| event("Bomb", number, fields);
    let replaced = || world.metric("margay_rule_worker_replacement_seconds_count");
    let died = || world.metric(r#"margay_rule_worker_restarts_total{reason="timeout"}"#);

    // The last of the batch kills it: nothing of the batch needs another worker, and one is there nonetheless.
    let found = evaluate(&engine, vec![of("{}", 0), of(r#"{"bad":true}"#, 1)]).await;
    assert_eq!((died(), replaced(), matches(&found, "Bomb")), (1, 1, 1));
    // The first kills it: the successor evaluates the rest.
    let found = evaluate(&engine, vec![of(r#"{"bad":true}"#, 2), of("{}", 3)]).await;
    assert_eq!((died(), replaced(), matches(&found, "Bomb")), (2, 2, 1));
    // Nothing died: nothing is replaced.
    evaluate(&engine, vec![of("{}", 4)]).await;
    assert_eq!((died(), replaced()), (2, 2));
    // What was ended counts with the time that it was given.
    let seconds = engine.usage().python_time.as_secs_f64();
    assert!(seconds >= 0.4, "{seconds}");
    let profile = world.telemetry.rule_profiles().into_iter().find(|one| one.rule == "Bomb").unwrap();
    assert_eq!((profile.evaluations, profile.errors, profile.matches), (5, 2, 3));
    assert!(profile.seconds >= 0.4 && profile.longest_seconds >= 0.2, "{profile:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_no_process_survives_is_left_out_and_named() {
    let bomb = "import ast\nast.literal_eval('[' * 200000)\nx = b''\nwhile True: x += bytes(10**7)\n";
    let world = World::new().configured(|config| config.worker_memory_mib = 512).rule("Bomb", bomb);
    let (engine, report) = world.start().await;
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!((report.rules, problems.len()), (1, 1), "{problems:?}");
    assert_eq!(matches(&evaluate(&engine, vec![event("Bomb", 0, "{}")]).await, "Witness"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_have_one_order_in_every_worker_and_after_every_start() {
    let rule = "def rule(event):\n    return True\n\
                def dedup(event):\n    return ' '.join({'one', 'two', 'three', 'four', 'five', 'six', 'seven'})\n";
    let mut orders = Vec::new();
    for _ in 0..2 {
        let world = World::new().configured(|config| config.workers = 2).rule("Set", rule);
        let (engine, _) = world.start().await;
        let calls = (0..4).map(|number| evaluate(&engine, vec![event("Set", number, "{}")]));
        for found in futures_util::future::join_all(calls).await {
            orders
                .extend(found.matches.iter().filter(|one| &*one.rule.id == "Set").map(|one| one.detail.dedup.clone()));
        }
    }
    assert_eq!(orders.len(), 8);
    orders.dedup();
    assert_eq!(orders.len(), 1, "{orders:?}");
}
