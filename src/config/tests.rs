//! What `load_with` accepts, resolves and tells, from files written for each case.

use std::path::PathBuf;

use super::*;
use crate::model::StreamType;

/// A file in a folder of its own, with a folder of rules beside it.
struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new(text: &str) -> Case {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("rules")).unwrap();
        std::fs::write(folder.path().join("margay.toml"), text).unwrap();
        Case { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Config, Problems> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        load_with(&self.path("margay.toml"), variables)
    }

    /// The problems, with the folder's name taken out.
    fn problems(&self, variables: &[(&str, &str)]) -> Vec<String> {
        let problems = self.load(variables).expect_err("the configuration is wrong");
        let folder = format!("{}/", self.folder.path().display());
        problems.to_string().replace(&folder, "").lines().map(str::to_owned).collect()
    }
}

const GOOD: &str = r#"
[queue.directory]
path = "in"
[rules]
directories = ["rules"]
[[sources]]
name = "logs"
bucket = "b"
prefixes = [{ prefix = "a/", log_types = ["X.Y"] }]
"#;

#[test]
fn a_small_file_is_completed_with_defaults() {
    let config = Case::new(GOOD).load(&[]).unwrap();
    assert_eq!(config.http, http::Config::default());
    assert_eq!(config.sources[0].prefixes[0].log_types, ["X.Y"]);
}

#[test]
fn paths_in_the_file_and_defaults_lie_beside_the_file() {
    let case = Case::new(GOOD);
    let config = case.load(&[]).unwrap();
    assert_eq!(config.queue.directory.path, Some(case.path("in")));
    assert_eq!(config.rules.directories, [case.path("rules")]);
    assert_eq!(config.state.sqlite.path, case.path("margay.db"));
}

#[test]
fn paths_in_variables_stay_as_they_are() {
    let config = Case::new(GOOD).load(&[("MARGAY_STATE__SQLITE__PATH", "here.db")]).unwrap();
    assert_eq!(config.state.sqlite.path, PathBuf::from("here.db"));
}

#[test]
fn variables_lie_over_the_file() {
    let config = Case::new(GOOD)
        .load(&[
            ("MARGAY_QUEUE__TYPE", "sqs"),
            ("MARGAY_QUEUE__SQS__URL", "https://queue.example/q"),
            ("MARGAY_PIPELINE__MAX_IN_FLIGHT", "7"),
            ("MARGAY_ALERTS__STDOUT__ENABLED", "false"),
            ("MARGAY_SOURCES__0__EXTERNAL_ID", "secret"),
            ("MARGAY_SOURCES__0__ACCOUNT_ID", "012345678901"),
            ("MARGAY_SOURCES__0__PREFIXES__0__LOG_TYPES", "[\"A.B\", C.D]"),
            ("MARGAY_CONFIG", "elsewhere.toml"),
            ("MARGAY_PORT", "tcp://10.0.0.1:9600"),
        ])
        .unwrap();
    assert_eq!(config.queue.kind, queue::Kind::Sqs);
    assert_eq!(config.pipeline.max_in_flight, 7);
    assert!(!config.alerts.stdout.enabled);
    assert_eq!(config.sources[0].external_id.as_deref(), Some("secret"));
    assert_eq!(config.sources[0].account_id.as_deref(), Some("012345678901"), "text, though it looks like a number");
    assert_eq!(config.sources[0].prefixes[0].log_types, ["A.B", "C.D"]);
}

#[test]
fn every_problem_is_told_at_once() {
    let case = Case::new(
        r#"
        colour = "red"
        [queue]
        typ = "sqs"
        type = "sqz"
        [queue.sqs]
        wait_seconds = 21
        visibility_timeout_seconds = "long"
        [lake]
        type = { none = true }
        [rules]
        directories = ["rules", "nowhere", 3]
        [pipeline]
        max_in_flight = 0
        max_object_mib = -1
        [http]
        listen = "everywhere"
        [log]
        filter = "ifno"
        [[sources]]
        bucket = "b"
        external_id = { hidden = "hunter2" }
        prefixes = [{ prefix = "a/" }, { log_types = "AWS.CloudTrail" }]
        [[sources]]
        name = 7
        stream_type = "lines"
        "#,
    );
    let problems = case.problems(&[("MARGAY_SQS__URL", "x"), ("MARGAY_STATE__TYPE", "oracle")]);
    let expected = [
        "MARGAY_STATE__TYPE: `state.type` can't be `oracle`; allowed: `sqlite`",
        "margay.toml: `lake.type",
        "MARGAY_SQS__URL: `sqs` is no key; did you mean `queue.sqs`? allowed here: ",
        "margay.toml: `colour` is no key; allowed here: `queue`, ",
        "margay.toml: `queue.typ` is no key; did you mean `type`? allowed here: `type`, `directory`, `sqs`",
        "margay.toml: `queue.type` can't be `sqz`; did you mean `sqs`? allowed: `directory`, `sqs`",
        "margay.toml: `queue.sqs.wait_seconds` is 21; it must be from 0 to 20",
        "margay.toml: `queue.sqs.visibility_timeout_seconds` is \"long\", where a whole number from 0 to 4294967295 is needed",
        "margay.toml: `rules.directories.1` names `nowhere`, which is not a folder that can be read",
        "margay.toml: `rules.directories.2` is 3, where a path in quotes is needed",
        "margay.toml: `pipeline.max_in_flight` is 0; it must be from 1 to 10000",
        "margay.toml: `pipeline.max_object_mib` can't be -1; it must be a whole number, 0 or more",
        "margay.toml: `http.listen` can't be used: invalid socket address syntax; it must be an address and a port",
        "margay.toml: `log.filter` can't be used: `ifno` does not end in a level; ",
        "margay.toml: `sources.0.name` is missing",
        "margay.toml: `sources.0.external_id` is a value that is kept secret here, where text in quotes is needed",
        "margay.toml: `sources.0.prefixes.0.log_types` is missing",
        "margay.toml: `sources.0.prefixes.1.log_types` is \"AWS.CloudTrail\", where a list in brackets is needed",
        "margay.toml: `sources.1.name` is 7, where text in quotes is needed",
        "margay.toml: `sources.1.bucket` is missing",
        "margay.toml: `sources.1.prefixes` is missing",
        "margay.toml: `sources.1.stream_type` can't be `lines`; did you mean `Lines`? allowed: `Auto`, ",
    ];
    for start in expected {
        assert!(problems.iter().any(|problem| problem.starts_with(start)), "{start}\nin\n{}", problems.join("\n"));
    }
    assert_eq!(problems.len(), expected.len(), "nothing more is told:\n{}", problems.join("\n"));
}

#[test]
fn the_stream_type_has_two_names_but_only_one_value() {
    let with = |keys: &str| GOOD.replace("[{ prefix", &format!("[{{ {keys}, prefix"));
    let config = Case::new(&with("log_stream_type = \"XML\"")).load(&[]).unwrap();
    assert_eq!(config.sources[0].prefixes[0].stream_type, Some(StreamType::Xml));
    let both = with("log_stream_type = \"XML\", stream_type = \"JSON\"");
    let problems = Case::new(&both).problems(&[]);
    assert!(matches!(&problems[..], [one] if one.contains("stream_type")), "{problems:?}");
}

#[test]
fn a_list_of_the_wrong_kind_is_told_once() {
    let case = Case::new("sources = 3\n[queue.directory]\npath = \"in\"\n[rules]\ndirectories = [\"rules\"]");
    assert_eq!(case.problems(&[]), ["margay.toml: `sources` is 3, where a list in brackets is needed"]);
}

#[test]
fn a_variable_over_a_section_is_told_and_hides_nothing_below_it() {
    let problems = Case::new(GOOD).problems(&[("MARGAY_QUEUE", "sqs")]);
    assert_eq!(problems, ["MARGAY_QUEUE: `queue` is \"sqs\", where a table is needed"]);
}

#[test]
fn variables_out_of_reach_are_told() {
    let problems = Case::new(GOOD).problems(&[
        ("MARGAY_SOURCES__4__BUCKET", "x"),
        ("MARGAY_QUEUE__DIRECTORY__PATH__DEEPER", "x"),
        ("MARGAY_HTTP__LISTEN__PORT", "1"),
        ("MARGAY_HTTP_LISTEN", "127.0.0.1:1"),
    ]);
    let expected = [
        "MARGAY_QUEUE__DIRECTORY__PATH__DEEPER: `queue.directory.path.deeper` is out of reach: `queue.directory.path` holds no further keys",
        "MARGAY_SOURCES__4__BUCKET: `sources.4.bucket` is out of reach: `sources` has no entry 4; entries are counted from 0",
        "MARGAY_HTTP__LISTEN__PORT: `http.listen` is a table, where an address and a port, such as `127.0.0.1:9600` or `[::]:9600` is needed",
        "MARGAY_HTTP_LISTEN: `http_listen` is no key; did you mean `http.listen`, as a variable `MARGAY_HTTP__LISTEN`? ",
    ];
    for start in expected {
        assert!(problems.iter().any(|problem| problem.starts_with(start)), "{start}\nin\n{}", problems.join("\n"));
    }
    assert_eq!(problems.len(), expected.len(), "{problems:?}");
}

#[test]
fn what_is_needed_depends_on_the_kind_of_queue() {
    let rules = "[rules]\ndirectories = [\"rules\"]\n";
    let problems = Case::new(rules).problems(&[]);
    assert!(problems[0].starts_with("margay.toml: `queue.directory.path` is missing"), "{problems:?}");
    assert_eq!(problems.len(), 1);
    let problems = Case::new(rules).problems(&[("MARGAY_QUEUE__TYPE", "sqs")]);
    assert!(problems[0].contains("`queue.sqs.url` is missing"), "{problems:?}");
    let problems = Case::new(rules).problems(&[("MARGAY_QUEUE__TYPE", "sqs"), ("MARGAY_QUEUE__SQS__URL", "q")]);
    assert!(problems[0].starts_with("MARGAY_QUEUE__SQS__URL: `queue.sqs.url` must start with"), "{problems:?}");
}

#[test]
fn a_store_in_postgres_needs_a_url_that_is_told_and_never_repeated() {
    let base = "[rules]\ndirectories = [\"rules\"]\n[queue.directory]\npath = \"rules\"\n";
    let problems = Case::new(base).problems(&[("MARGAY_STATE__TYPE", "postgres")]);
    assert!(problems[0].contains("`state.postgres.url` is missing"), "{problems:?}");
    assert_eq!(problems.len(), 1);
    let url = "mysql://u:hunter2@h/m";
    let problems =
        Case::new(base).problems(&[("MARGAY_STATE__TYPE", "postgres"), ("MARGAY_STATE__POSTGRES__URL", url)]);
    assert!(problems[0].starts_with("MARGAY_STATE__POSTGRES__URL: `state.postgres.url` must be like"), "{problems:?}");
    assert!(!problems[0].contains("hunter2"), "{problems:?}");
}

#[test]
fn a_lake_that_daemons_share_needs_a_catalog_and_a_place_for_files() {
    let told = |toml: &str, expected: &[&str]| {
        let problems = Case::new(&format!("{toml}\n{GOOD}")).problems(&[]);
        let all = problems.join("\n");
        assert!(expected.iter().all(|text| all.contains(text)), "{all}");
        assert_eq!(problems.len(), expected.len(), "{all}");
    };
    told("lake = { type = 'postgres' }", &["`lake.warehouse` is missing", "`state.postgres.url` is missing"]);
    told("lake = { type = 'glue' }", &["`lake.warehouse` is missing"]);
    told("lake = { type = 'rest', warehouse = 's3://b/p' }", &["`lake.rest.uri` is missing"]);
    told("lake = { warehouse = 'lake' }", &["`lake.warehouse` must be like `s3://BUCKET/PREFIX`"]);
    let two = "lake = { rest = { token = 'env:T', credential = 'env:C', uri = 'catalog' } }";
    told(two, &["`lake.rest` has more than one proof", "`lake.rest.uri` must start with `https://`"]);
    let one = "lake = { type = 'rest', warehouse = '/srv/lake', rest = { uri = 'https://c', token = 'file:t' } }";
    let case = Case::new(&format!("{one}\n{GOOD}"));
    let token = case.load(&[]).unwrap().lake.rest.token;
    assert_eq!(token, Some(crate::model::SecretRef::File(case.path("t"))), "beside the file");
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_line() {
    let problems = Case::new("[queue]\ntype = \n").problems(&[]);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("margay.toml: line 2, column 8 is not TOML: "), "{problems:?}");
    let problems = Case::new("[queue]\ntype = \"sqs\"\ntype = \"sqs\"\n").problems(&[]);
    assert!(problems[0].contains("line 3"), "{problems:?}");
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let problems = load_with(std::path::Path::new("nowhere/margay.toml"), Vec::new()).unwrap_err();
    let text = problems.to_string();
    assert!(text.starts_with("nowhere/margay.toml: the configuration file can't be read: "), "{text}");
}

#[test]
fn any_mistake_in_any_key_is_told_under_that_key() {
    let entries = "[[alerts.destinations]]\nname = \"d\"\nfile.path = \"x\"\n\
                   [[http.tokens]]\nname = \"t\"\ntoken = \"env:X\"\n";
    let good = format!("{GOOD}\n{entries}");
    for key in keys() {
        let variable = format!("MARGAY_{}", key.replace("[]", ".0").replace('.', "__").to_uppercase());
        let problems = Case::new(&good).load(&[(&variable, "{ odd = [1] }")]);
        let told = problems.err().map(|problems| problems.0).unwrap_or_default();
        let key = key.replace("[]", ".0");
        assert!(told.iter().any(|problem| problem.key.starts_with(&key)), "{key}: {told:?}");
        assert!(told.iter().all(|problem| problem.place == Place::Variable(variable.clone())), "{key}: {told:?}");
    }
}
