//! The commands that start nothing: exit codes and what they print.

use crate::daemon::{Setup, shipped};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_wrong_configuration_tells_everything_and_exits_with_64() {
    let setup =
        Setup::new().configured("unknown_key = 1\n[queue]\ntype = \"carrier pigeon\"\n[pipeline]\nmax_in_flight = 0\n");
    for command in ["run", "check", "config"] {
        let output = setup.margay(&[command, "--config", "margay.toml"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        for key in ["unknown_key", "queue.type", "pipeline.max_in_flight"] {
            assert!(said.contains(key), "`margay {command}` does not tell of {key}: {said}");
        }
    }
    assert_eq!(setup.margay(&["check", "--config", "nowhere.toml"]).status.code(), Some(64));
    assert_eq!(setup.margay(&["fly"]).status.code(), Some(64));
}

#[test]
fn check_tells_of_sources_log_types_and_rules_at_once() {
    let setup = Setup::new()
        .rule("Good", "def rule(event):\n    return True\n")
        .rule("Bad", "def rule(event)\n    return True\n")
        .watching_directory();
    let output = setup.margay(&["check", "--config", "margay.toml"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Bad.py:1"), "{said}");

    let setup = setup.configured(
        "[[sources]]\nname = \"other\"\nbucket = \"b\"\nprefixes = [{ log_types = [\"Okta.SystemLg\"] }]\n",
    );
    let output = setup.margay(&["check", "--config", "margay.toml"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(64), "{said}");
    for part in ["Bad.py:1", "Okta.SystemLg", "Okta.SystemLog"] {
        assert!(said.contains(part), "no word of {part}: {said}");
    }
}

#[test]
fn what_is_probably_a_mistake_is_told_and_is_no_failure() {
    let reflecting = "LIMIT = 1\nglobals()['LIMIT'] = 2\ndef rule(event):\n    return True\n";
    let setup = Setup::new().rule("Good", reflecting).watching_directory().configured(
        "[[sources]]\nname = \"trail\"\nbucket = \"logs\"\naccount_id = \"999999999999\"\n\
         role_arn = \"arn:aws:iam::111122223333:role/r\"\nprefixes = [{ log_types = [\"Okta.SystemLog\"] }]\n",
    );
    let output = setup.margay(&["check", "--config", "margay.toml"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("warning: source \"trail\": role_arn is in account 111122223333"), "{said}");
    assert!(said.contains("Good.py:2: Good: reaches into its own namespace"), "{said}");
}

#[test]
fn what_is_shipped_is_without_a_problem() {
    let setup = Setup::new();
    for config in ["config/local.toml", "config/aws.toml"] {
        let output = setup.margay(&["check", "--config", shipped(config).to_str().unwrap()]);
        assert!(output.status.success(), "{config}: {}{}", text(&output.stdout), text(&output.stderr));
    }
    let output = setup.margay(&["test", shipped("rules").to_str().unwrap(), "--format", "jsonl"]);
    let lines: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(output.status.success() && lines.len() > 100);
    assert!(lines.iter().all(|line| line["passed"] == true));
}

#[test]
fn check_looks_for_the_secrets_that_a_start_needs() {
    let setup = Setup::new().watching_directory().configured(
        "[[http.tokens]]\nname = \"analysts\"\ntoken = \"file:token\"\n\
         [[alerts.destinations]]\nname = \"chat\"\n[alerts.destinations.slack]\nurl = \"file:slack\"\n",
    );
    let output = setup.margay(&["check", "--config", "margay.toml"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`http.tokens` (`analysts`) needs the secret in") && said.contains("slack"), "{said}");
    assert!(said.contains("2 problems"), "{said}");
}

#[test]
fn a_failing_test_of_a_rule_is_an_exit_code_and_a_summary() {
    let setup = Setup::new();
    let tests = "Tests:\n  - Name: wrong\n    ExpectedResult: false\n    Log: {a: 1}\n";
    setup.write_rule("Always", "def rule(event):\n    return event['a'] == 1\n");
    let yaml = setup.path("rules").join("Always.yml");
    std::fs::write(&yaml, std::fs::read_to_string(&yaml).unwrap() + tests).unwrap();
    let output = setup.margay(&["test", "rules"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert!(said.contains("[FAIL] wrong") && said.contains("Failed: 1"), "{said}");
}

#[test]
fn a_test_run_that_tests_nothing_is_no_success() {
    let setup = Setup::new().rule("Always", "def rule(event):\n    return True\n");
    std::fs::create_dir(setup.path("empty")).unwrap();
    for (arguments, said) in [
        (&["test", "rules"][..], None),
        (&["test", "rules", "--filter", "RuleID=Alwys"], Some("rules holds no detection that the filters let through")),
        (&["test", "rules", "--test-names", "wrng"], Some("rules holds no test case of the names [\"wrng\"]")),
        (&["test", "empty"], Some("empty holds no detection: nothing was tested")),
    ] {
        let output = setup.margay(arguments);
        let complained = text(&output.stderr);
        assert_eq!(output.status.code(), Some(i32::from(said.is_some())), "{arguments:?}: {complained}");
        assert!(said.is_none_or(|said| complained.contains(said)), "{arguments:?}: {complained}");
    }
}

#[test]
fn helpers_of_a_checkout_are_there_for_the_rules_of_one_folder() {
    let setup = Setup::new().rule("Helped", "import own_helper\ndef rule(event):\n    return own_helper.yes()\n");
    let yaml = setup.path("rules/Helped.yml");
    let tests = "Tests:\n  - Name: right\n    ExpectedResult: true\n    Log: {a: 1}\n";
    std::fs::write(&yaml, std::fs::read_to_string(&yaml).unwrap() + tests).unwrap();
    for folder in ["global_helpers", "test_scenarios"] {
        std::fs::create_dir(setup.path(folder)).unwrap();
    }
    std::fs::write(setup.path("global_helpers/own_helper.py"), "def yes():\n    return True\n").unwrap();
    let global = "AnalysisType: global\nGlobalID: own_helper\nFilename: own_helper.py\n";
    std::fs::write(setup.path("global_helpers/own_helper.yml"), global).unwrap();
    std::fs::write(setup.path("test_scenarios/login.yml"), "steps: [one, two]\n").unwrap();
    for arguments in [
        &["test"][..],
        &["test", "--path", "."],
        &["test", "rules/Helped.yml"],
        &["debug", "Helped"],
        &["rules", "show", "Helped", "--path", "rules"],
    ] {
        let output = setup.margay(arguments);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
}

#[test]
fn the_dump_masks_secrets() {
    let setup = Setup::new().watching_directory().configured(
        "[[sources]]\nname = \"s\"\nbucket = \"b\"\nrole_arn = \"arn:aws:iam::111122223333:role/r\"\n\
         external_id = \"very-secret\"\nprefixes = [{ log_types = [\"Okta.SystemLog\"] }]\n",
    );
    let output = setup.margay(&["config", "--config", "margay.toml", "--dump"]);
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("max_in_flight") && !said.contains("very-secret"), "{said}");
}

#[test]
fn alerts_of_a_store_that_is_not_there_are_an_error_that_says_what_to_do() {
    let setup = Setup::new().watching_directory();
    let output = setup.margay(&["alerts", "list", "--config", "margay.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("margay.db"), "{}", text(&output.stderr));
}

/// Each object is read, its events are in the lake and met the rules; the stages' times add up to all of it.
#[test]
fn the_bench_of_the_pipeline_counts_what_it_read() {
    let setup = Setup::new();
    setup.write_rule_over("Okta.SystemLog", "Always", "def rule(event):\n    return True\n");
    for file in 0..3 {
        let folder = setup.path("objects").join(format!("day-{file}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("login.json"), crate::events::logins_of(&format!("of-{file}"), 20)).unwrap();
    }
    let output = setup.margay(&["bench", "pipeline", "--input", "objects", "--rules", "rules", "--format", "json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for (name, count) in [("objects", 3), ("events", 60), ("matches", 60), ("rejects", 0)] {
        assert_eq!(told[name], count, "{name} in {told}");
    }
    assert_eq!(told["log_types"], serde_json::json!(["Okta.SystemLog"]));
    assert!(told["bytes"].as_u64() >= told["bytes_compressed"].as_u64(), "{told}");
    let stages = told["cpu_seconds_by_stage"].as_object().unwrap();
    let sum: f64 = stages.values().filter_map(serde_json::Value::as_f64).sum();
    assert!((sum - told["cpu_seconds"].as_f64().unwrap()).abs() < 0.01, "{told}");
    for stage in ["decode", "classify", "guard", "encode", "rules_in_python", "state_and_catalog", "other"] {
        assert!(stages.contains_key(stage), "{stage} in {told}");
    }
}
