//! What is shipped to run margay, judged by the tools of those who run it: templates by cfn-lint and, where it is
//! installed, terraform; the image's recipe by hadolint; the chart by Helm and the schemas of Kubernetes; rules of
//! Prometheus by promtool, where it is installed (on Debian with `prometheus`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::aws::python;
use crate::daemon::{Setup, shipped};

const SOURCES: &str = r#"
[queue]
type = "sqs"
[queue.sqs]
url = "https://sqs.eu-central-1.amazonaws.com/999988887777/margay"
[[sources]]
name = "trail"
bucket = "acme-trail"
account_id = "111122223333"
region = "us-west-2"
role_name = "default"
external_id = "e1f7a2c4"
kms_key_arn = "arn:aws:kms:us-west-2:111122223333:key/1a2b"
prefixes = [{ prefix = "AWSLogs/", log_types = ["AWS.CloudTrail"] }, { prefix = "b ${x}/", log_types = ["AWS.VPCFlow"] }]
[[sources]]
name = "okta"
bucket = "acme-okta"
prefixes = [{ log_types = ["Okta.SystemLog"] }]
"#;

const TEMPLATES: [(&str, &[&str]); 6] = [
    ("iam", &["iam", "--source", "trail"]),
    ("notifications", &["notifications", "--source", "trail", "--encrypted", "--trail", TRAIL]),
    (
        "existing",
        &["notifications", "--source", "trail", "--existing-topic", "arn:aws:sns:us-west-2:111122223333:theirs"],
    ),
    ("bucket", &["bucket", "--source", "trail"]),
    ("queue", &["queue", "--source", "trail"]),
    ("queue-eks", &["queue", "--host", "eks"]),
];

const TRAIL: &str = "arn:aws:cloudtrail:us-west-2:111122223333:trail/main";

/// Every template in a language, in files of a folder.
fn templates(setup: &Setup, folder: &Path, format: &str, extension: &str) -> Vec<PathBuf> {
    let file = |(name, arguments): &(&str, &[&str])| {
        let all = [&["source", "template"], *arguments, &["--config", "margay.toml", "--format", format]].concat();
        let output = setup.margay(&all);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let path = folder.join(format!("{name}.{extension}"));
        std::fs::write(&path, output.stdout).unwrap();
        path
    };
    TEMPLATES.iter().map(file).collect()
}

/// A program of the tests' virtual environment.
fn tool(name: &str) -> Command {
    Command::new(python::interpreter().with_file_name(name))
}

/// A program that may be installed; the test says so when it is not.
fn installed(name: &str) -> Option<Command> {
    let found = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match found {
        Ok(_) => Some(Command::new(name)),
        Err(error) => {
            eprintln!("{name} is not installed, and what it would judge is not judged: {error}");
            None
        }
    }
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
}

#[test]
fn templates_are_what_their_tools_take() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new().configured(SOURCES);
    let mut files = templates(&setup, folder.path(), "cloudformation", "yaml");
    files.push(shipped("docker/ecs/service.yaml"));
    succeeds(tool("cfn-lint").args(&files));
    let files = templates(&setup, folder.path(), "terraform", "tf");
    if let Some(mut terraform) = installed("terraform") {
        succeeds(terraform.args(["fmt", "-check", "-diff"]).args(&files));
    }
}

#[test]
fn a_template_that_lacks_something_names_the_key() {
    let setup = Setup::new().configured(SOURCES);
    for (arguments, wanted) in [
        (&["iam", "--source", "okta"][..], "role_name"),
        (&["notifications", "--source", "okta"], "account_id"),
        (&["queue", "--source", "okta"], "account_id"),
        (&["iam", "--source", "nobody"], "\"trail\", \"okta\""),
    ] {
        let output = setup.margay(&[&["source", "template"], arguments, &["--config", "margay.toml"]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(64) && said.contains(wanted), "{said}");
    }
}

#[test]
fn the_recipe_of_the_image_is_sound() {
    succeeds(tool("hadolint").arg(shipped("docker/Dockerfile")));
}

#[test]
fn the_configuration_of_the_image_is_completed_by_variables() {
    let text = std::fs::read_to_string(shipped("docker/margay.toml")).unwrap();
    let setup = Setup::new();
    // The folder is one of the image.
    setup.reconfigure(&text.replace("/usr/share/margay/rules", "rules"));
    let setup = setup
        .with_variable("MARGAY_QUEUE__SQS__URL", "https://sqs.eu-central-1.amazonaws.com/999988887777/margay")
        .with_variable("MARGAY_STATE", "{}")
        .with_variable(
            "MARGAY_SOURCES",
            r#"[{ name = "okta", bucket = "acme", prefixes = [{ log_types = ["Okta.SystemLog"] }] }]"#,
        );
    let output = setup.margay(&["config", "--dump", "--config", "margay.toml"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for part in ["name = \"okta\"", "/var/lib/margay/margay.db", "999988887777"] {
        assert!(said.contains(part), "no {part}: {said}");
    }
}

#[test]
fn rules_of_prometheus_alert_when_they_should() {
    if let Some(mut promtool) = installed("promtool") {
        let folder = shipped("helm/monitoring");
        succeeds(promtool.args(["test", "rules", "rules_test.yml"]).current_dir(folder));
    }
}

/// Renders the chart for each set of values, validates what Kubernetes itself knows, and gives all of it or the
/// refusal.
const RENDER: &str = r#"
import json, sys
import helm_python, kubernetes_validate, yaml
asked = json.load(sys.stdin)
found = [m for m in helm_python.lint(asked["chart"])["messages"] if m["severity"] > 1]
assert not found, found
answers = []
with helm_python.Chart.load(asked["chart"]) as chart:
    for values in asked["values"]:
        try:
            files = chart.render(values, name="margay", namespace="security")
        except helm_python.HelmError as error:
            answers.append({"refused": str(error)})
            continue
        files.pop("margay/templates/NOTES.txt", None)
        documents = [d for text in files.values() for d in yaml.safe_load_all(text) if d]
        for document in documents:
            if not document["apiVersion"].startswith(("keda.sh/", "monitoring.coreos.com/")):
                kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        answers.append({d["kind"] + "/" + d["metadata"]["name"]: d for d in documents})
print(json.dumps(answers))
"#;

fn rendered(values: Value) -> Vec<Value> {
    let asked = json!({ "chart": shipped("helm"), "values": values });
    python::evaluate(RENDER, &asked.to_string()).as_array().unwrap().clone()
}

#[test]
fn the_chart_gives_what_kubernetes_takes() {
    let everything = json!({
        "replicas": 3,
        "state": { "shared": true },
        "rules": { "files": { "a.py": "def rule(event):\n    return True\n", "a.yml": "RuleID: A\n" } },
        "logTypes": { "files": { "x.yml": "schema: X.Y\n" } },
        "secretEnv": { "MARGAY_SOURCES__0__EXTERNAL_ID": { "name": "ids", "key": "trail" } },
        "image": { "repository": "registry.example/margay", "tag": "sha256:abc", "pullSecrets": [{ "name": "s" }] },
        "serviceAccount": { "annotations": { "eks.amazonaws.com/role-arn": "arn:aws:iam::999988887777:role/margay-daemon" } },
        "aws": { "region": "eu-central-1" },
        "drain": { "graceSeconds": 100 },
        "autoscaling": { "enabled": true },
        "monitoring": {
            "podMonitor": { "enabled": true, "labels": { "release": "prometheus" } },
            "serviceMonitor": { "enabled": true },
            "rules": { "enabled": true },
            "dashboard": { "enabled": true },
        },
        "networkPolicy": { "egress": [{ "ports": [{ "port": 5432 }] }] },
        "tolerations": [{ "key": "a", "operator": "Exists" }],
        "sidecars": [{ "name": "sync", "image": "sync:1" }],
        "priorityClassName": "high",
    });
    let scaled = json!({ "state": { "shared": true }, "autoscaling": { "enabled": true, "kind": "hpa" } });
    let answers = rendered(json!([{}, everything, scaled]));
    let [plain, everything, scaled] = &answers[..] else { panic!("three answers: {answers:?}") };

    let pod = |answer: &Value| answer["Deployment/margay"]["spec"]["template"]["spec"].clone();
    for (answer, grace) in [(plain, 25), (everything, 100)] {
        let pod = pod(answer);
        let container = &pod["containers"][0];
        // Handing back, delivering and closing HTTP take up to five seconds each.
        assert!(pod["terminationGracePeriodSeconds"].as_i64().unwrap() >= grace + 15, "{pod}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
        for (probe, path) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            assert_eq!(container[probe]["httpGet"]["path"], path);
        }
        let mounts = container["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().all(|mount| mount.get("subPath").is_none()), "a change would not be seen: {mounts:?}");
    }
    assert_eq!(plain["Deployment/margay"]["spec"]["strategy"]["type"], "Recreate");
    assert!(plain.get("PersistentVolumeClaim/margay").is_some());
    assert_eq!(everything["Deployment/margay"]["spec"]["strategy"]["type"], "RollingUpdate");
    for kind in ["PersistentVolumeClaim/margay", "HorizontalPodAutoscaler/margay"] {
        assert!(everything.get(kind).is_none(), "{kind}");
    }
    for kind in [
        "ScaledObject/margay",
        "PodMonitor/margay",
        "ServiceMonitor/margay",
        "PrometheusRule/margay",
        "NetworkPolicy/margay",
        "PodDisruptionBudget/margay",
        "ConfigMap/margay-rules",
        "ConfigMap/margay-log-types",
        "ConfigMap/margay-dashboard",
    ] {
        assert!(everything.get(kind).is_some(), "{kind}");
    }
    assert!(everything["PrometheusRule/margay"]["spec"]["groups"][1]["rules"].as_array().unwrap().len() > 10);
    assert_eq!(everything["ConfigMap/margay-rules"]["data"]["a.py"], "def rule(event):\n    return True\n");
    assert!(scaled.get("HorizontalPodAutoscaler/margay").is_some());
}

#[test]
fn the_chart_refuses_what_can_not_work() {
    let cases = [
        (json!({ "replicas": 2 }), "state.shared"),
        (json!({ "autoscaling": { "enabled": true } }), "state.shared"),
        (json!({ "rules": { "builtIn": false } }), "rules: give"),
        (json!({ "rules": { "files": { "a.py": "" }, "existingConfigMap": "b" } }), "exclude each other"),
        (json!({ "replica": 2 }), "replica"),
        (json!({ "drain": { "graceSeconds": 0 } }), "graceSeconds"),
        (json!({ "config": "" }), "config"),
        (json!({ "secretEnv": { "A": { "name": "s" } } }), "key"),
    ];
    let values: Vec<&Value> = cases.iter().map(|(values, _)| values).collect();
    for (answer, (values, wanted)) in rendered(json!(values)).iter().zip(&cases) {
        let refused = answer["refused"].as_str().unwrap_or_else(|| panic!("{values} is taken"));
        assert!(refused.contains(wanted), "{values}: {refused}");
    }
}
