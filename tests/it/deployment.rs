//! What is shipped to run margay, judged by the tools of those who run it: templates by cfn-lint and a parser of HCL;
//! the image's recipe by hadolint; the chart by Helm and the schemas of Kubernetes; rules of Prometheus and panels of
//! Grafana by a parser of PromQL. Where they are installed, terraform and promtool (on Debian in `prometheus`) judge
//! theirs more closely; CI insists on promtool.

use std::io::Write;
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
[lake]
type = "glue"
warehouse = "s3://acme-lake/margay"
[[alerts.destinations]]
name = "people"
sns = { topic_arn = "arn:aws:sns:eu-central-1:999988887777:alerts" }
[[alerts.destinations]]
name = "tickets"
sqs = { queue_url = "https://sqs.eu-central-1.amazonaws.com/999988887777/tickets" }
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

const TEMPLATES: [(&str, &[&str]); 7] = [
    ("iam", &["iam", "--source", "trail"]),
    ("notifications", &["notifications", "--source", "trail", "--encrypted", "--trail", TRAIL]),
    (
        "existing",
        &["notifications", "--source", "trail", "--existing-topic", "arn:aws:sns:us-west-2:111122223333:theirs"],
    ),
    ("bucket", &["bucket", "--source", "trail"]),
    ("queue", &["queue", "--source", "trail"]),
    ("queue-eks", &["queue", "--host", "eks"]),
    ("lake", &["lake"]),
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

/// A program that may be installed. When it is not, that is said past the capture of tests that pass.
fn installed(name: &str) -> Option<Command> {
    let found = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let Err(error) = found else { return Some(Command::new(name)) };
    let said = format!("NOT TESTED: {name} is not installed, and what it would judge is not judged: {error}\n");
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    None
}

/// Variables of CI systems; `.ci/run` installs there what tests insist on.
fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
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
    for path in &files {
        let resources = python::evaluate(PARSE_HCL, &std::fs::read_to_string(path).unwrap());
        assert!(resources.as_array().is_some_and(|resources| !resources.is_empty()), "{}: {resources}", path.display());
    }
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
        .with_variable("MARGAY_ALERTS", "{}")
        .with_variable("MARGAY_HTTP", "{}")
        .with_variable("MARGAY_RULES", "{}")
        .with_variable("MARGAY_LAKE", r#"{ type = "glue", warehouse = "s3://acme-lake/margay" }"#)
        .with_variable(
            "MARGAY_SOURCES",
            r#"[{ name = "okta", bucket = "acme", prefixes = [{ log_types = ["Okta.SystemLog"] }] }]"#,
        );
    let output = setup.margay(&["config", "--dump", "--config", "margay.toml"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kept = ["/var/lib/margay/margay.db", "/var/lib/margay/remote", "type = \"glue\"", "s3://acme-lake/margay"];
    for part in ["name = \"okta\"", "999988887777"].iter().chain(&kept) {
        assert!(said.contains(part), "no {part}: {said}");
    }
}

#[test]
fn rules_of_prometheus_alert_when_they_should() {
    let promtool = installed("promtool");
    assert!(promtool.is_some() || !is_ci(), "CI tests the rules with promtool");
    if let Some(mut promtool) = promtool {
        let folder = shipped("helm/monitoring");
        succeeds(promtool.args(["test", "rules", "rules_test.yml"]).current_dir(folder));
    }
}

/// The resources of a file in HCL.
const PARSE_HCL: &str = r#"
import json, sys
import hcl2
print(json.dumps([list(resource) for resource in hcl2.load(sys.stdin).get("resource", [])]))
"#;

/// Parses every expression of a document, and gives their number.
const PARSE_PROMQL: &str = r#"
import sys
import promql_parser, yaml
def expressions(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from [inner] if key == "expr" and isinstance(inner, str) else expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)
found = list(expressions(yaml.safe_load(sys.stdin)))
for expression in found:
    # As Grafana fills it in.
    promql_parser.parse(expression.replace("$__rate_interval", "5m").replace("$__range", "1h"))
print(len(found))
"#;

#[test]
fn expressions_of_rules_and_panels_are_promql() {
    for (file, least) in [("helm/monitoring/rules.yml", 20), ("helm/monitoring/dashboard.json", 30)] {
        let text = std::fs::read_to_string(shipped(file)).unwrap();
        let found = python::evaluate(PARSE_PROMQL, &text).as_u64().unwrap();
        assert!(found >= least, "{file}: {found}");
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
        "state": { "postgres": {
            "enabled": true,
            "url": "postgres://margay@db.example:6432/margay?sslrootcert=/etc/margay-postgres-authority/rds.pem",
            "passwordSecret": { "name": "margay-db", "key": "pass" },
            "authority": { "name": "rds", "key": "rds.pem" },
            "port": 6432,
            "to": [{ "ipBlock": { "cidr": "10.1.0.0/16" } }],
            "maxConnections": 7,
        } },
        "rules": {
            "files": { "a.py": "def rule(event):\n    return True\n", "a.yml": "RuleID: A\n" },
            "s3": ["s3://acme-rules/live"],
        },
        "logTypes": { "files": { "x.yml": "schema: X.Y\n" }, "s3": ["s3://acme-rules/types"] },
        "secretEnv": { "MARGAY_SOURCES__0__EXTERNAL_ID": { "name": "ids", "key": "trail" } },
        "image": { "repository": "registry.example/margay", "tag": "sha256:abc", "pullSecrets": [{ "name": "s" }] },
        "serviceAccount": { "annotations": { "team": "security" } },
        "aws": { "region": "eu-central-1", "roleArn": "arn:aws:iam::999988887777:role/margay-daemon" },
        "drain": { "graceSeconds": 100 },
        "autoscaling": { "enabled": true },
        "monitoring": {
            "podMonitor": { "enabled": true, "labels": { "release": "prometheus" } },
            "serviceMonitor": { "enabled": true },
            "rules": { "enabled": true },
            "dashboard": { "enabled": true },
        },
        "networkPolicy": { "egress": [{ "ports": [{ "port": 587 }] }] },
        "tolerations": [{ "key": "a", "operator": "Exists" }],
        "initContainers": [{ "name": "clone", "image": "sync:1" }],
        "sidecars": [{ "name": "sync", "image": "sync:1" }],
        "priorityClassName": "high",
    });
    let scaled = json!({
        "state": { "postgres": { "enabled": true, "urlSecret": { "name": "margay-db", "key": "url" } } },
        "autoscaling": { "enabled": true, "kind": "hpa" },
        "rules": { "builtIn": false, "volume": { "emptyDir": {} }, "folder": "current/detections" },
    });
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
    the_chart_leads_to_postgres(everything, scaled);
    assert_eq!(
        everything["ServiceAccount/margay"]["metadata"]["annotations"],
        json!({ "eks.amazonaws.com/role-arn": "arn:aws:iam::999988887777:role/margay-daemon", "team": "security" })
    );
    assert_eq!(variable(plain, "MARGAY_RULES__DIRECTORIES")["value"], r#"["/usr/share/margay/rules"]"#);
    assert_eq!(
        variable(everything, "MARGAY_RULES__DIRECTORIES")["value"],
        r#"["/usr/share/margay/rules","/etc/margay-rules","s3://acme-rules/live"]"#
    );
    assert_eq!(
        variable(everything, "MARGAY_LOG_TYPES__DIRECTORIES")["value"],
        r#"["/etc/margay-log-types","s3://acme-rules/types"]"#
    );
    assert_eq!(variable(scaled, "MARGAY_RULES__DIRECTORIES")["value"], r#"["/etc/margay-rules/current/detections"]"#);
    assert!(everything["PrometheusRule/margay"]["spec"]["groups"][1]["rules"].as_array().unwrap().len() > 10);
    assert_eq!(everything["ConfigMap/margay-rules"]["data"]["a.py"], "def rule(event):\n    return True\n");
    assert!(scaled.get("HorizontalPodAutoscaler/margay").is_some());
}

/// A variable of margay's container.
fn variable(answer: &Value, name: &str) -> Value {
    let variables = &answer["Deployment/margay"]["spec"]["template"]["spec"]["containers"][0]["env"];
    let found = variables.as_array().unwrap().iter().find(|variable| variable["name"] == name);
    found.cloned().unwrap_or_default()
}

fn the_chart_leads_to_postgres(by_parts: &Value, by_secret: &Value) {
    for answer in [by_parts, by_secret] {
        assert_eq!(variable(answer, "MARGAY_STATE__TYPE")["value"], "postgres");
        assert_eq!(variable(answer, "MARGAY_STATE__SQLITE__PATH"), Value::Null);
        assert!(answer.get("PersistentVolumeClaim/margay").is_none());
        // Copies of folders in S3 are written there, and the root file system is not to be written to.
        let volumes = answer["Deployment/margay"]["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
        assert!(
            volumes.iter().any(|volume| volume["name"] == "state" && volume["emptyDir"].is_object()),
            "{volumes:?}"
        );
    }
    assert_eq!(
        variable(by_secret, "MARGAY_STATE__POSTGRES__URL")["valueFrom"]["secretKeyRef"],
        json!({ "name": "margay-db", "key": "url" })
    );
    assert_eq!(variable(by_parts, "MARGAY_STATE__POSTGRES__PASSWORD_FILE")["value"], "/etc/margay-postgres/pass");
    assert_eq!(variable(by_parts, "MARGAY_STATE__POSTGRES__MAX_CONNECTIONS")["value"], "7");
    let egress = |answer: &Value| answer["NetworkPolicy/margay"]["spec"]["egress"].as_array().unwrap().clone();
    let to_database = |port: u16, to: Value| {
        let mut rule = json!({ "ports": [{ "port": port, "protocol": "TCP" }] });
        if !to.is_null() {
            rule["to"] = to;
        }
        rule
    };
    assert!(egress(by_parts).contains(&to_database(6432, json!([{ "ipBlock": { "cidr": "10.1.0.0/16" } }]))));
    assert!(egress(by_secret).contains(&to_database(5432, Value::Null)));
}

/// What the chart gives margay is a configuration that holds.
#[test]
fn the_variables_of_the_chart_are_taken() {
    let values = json!({
        "state": { "postgres": {
            "enabled": true, "url": "postgres://margay@db.example/margay", "passwordSecret": { "name": "s", "key": "p" },
        } },
        "rules": { "builtIn": false, "s3": ["s3://acme-rules/live"] },
        "logTypes": { "s3": ["s3://acme-rules/types"] },
    });
    let answers = rendered(json!([values]));
    let container = &answers[0]["Deployment/margay"]["spec"]["template"]["spec"]["containers"][0];
    let mut setup = Setup::new();
    setup.reconfigure(answers[0]["ConfigMap/margay"]["data"]["margay.toml"].as_str().unwrap());
    for variable in container["env"].as_array().unwrap() {
        let name: &'static str = variable["name"].as_str().unwrap().to_owned().leak();
        setup = setup.with_variable(name, variable["value"].as_str().unwrap());
    }
    let output = setup.margay(&["config", "--dump", "--config", "margay.toml"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for part in ["type = \"postgres\"", "s3://acme-rules/live/", "s3://acme-rules/types/", "/var/lib/margay/remote"] {
        assert!(said.contains(part), "no {part}: {said}");
    }
}

#[test]
fn the_chart_refuses_what_can_not_work() {
    let postgres = |rest: Value| {
        let mut postgres = json!({ "enabled": true });
        postgres.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        json!({ "state": { "postgres": postgres } })
    };
    let cases = [
        (json!({ "replicas": 2 }), "set state.postgres.enabled"),
        (json!({ "autoscaling": { "enabled": true } }), "set state.postgres.enabled"),
        (postgres(json!({})), "either urlSecret.name"),
        (
            postgres(json!({ "url": "postgres://u@h/d", "urlSecret": { "name": "s", "key": "k" } })),
            "either urlSecret.name",
        ),
        (
            postgres(
                json!({ "urlSecret": { "name": "s", "key": "k" }, "passwordSecret": { "name": "s", "key": "p" } }),
            ),
            "passwordSecret is for",
        ),
        (postgres(json!({ "url": "postgres://u:hunter2@h/d" })), "url"),
        (postgres(json!({ "port": 0 })), "port"),
        (json!({ "rules": { "s3": ["https://acme"] } }), "s3"),
        (json!({ "rules": { "folder": "../up" } }), "folder"),
        (json!({ "aws": { "roleArn": "margay-daemon" } }), "roleArn"),
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
