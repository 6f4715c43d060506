//! `margay source add`: writes a new source behind those of the configuration file, and says what its account needs
//! next. The file is as it was if anything would be wrong with it then.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{ArgGroup, Parser as _};

use super::super::{ConfigArgument, failure, print, usage};
use crate::{app, config};

#[derive(clap::Args)]
#[command(group(ArgGroup::new("reader").args(["role", "account"]).multiple(true)))]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Unique name of the source, which its events carry.
    #[arg(long)]
    name: String,
    #[arg(long)]
    bucket: String,
    /// What the objects hold; may be given more than once, and is tried in this order.
    #[arg(long = "log-type", required = true, value_name = "LOG_TYPE")]
    log_types: Vec<String>,
    /// Start of the keys that are read; may be given more than once.
    #[arg(long = "prefix")]
    prefixes: Vec<String>,
    /// Account of the bucket, 12 digits.
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Region of the bucket.
    #[arg(long)]
    region: Option<String>,
    /// ARN of the key that encrypts the objects.
    #[arg(long, value_name = "ARN")]
    kms: Option<String>,
    /// ARN of the role that reads the bucket; with an account and without this it is the one that the template makes.
    #[arg(long, value_name = "ARN")]
    role: Option<String>,
    /// What that role asks for; made up if it is not given.
    #[arg(long, value_name = "ID", requires = "reader")]
    external_id: Option<String>,
    /// How the objects are split into records: Auto, Lines, JSON, JsonArray, CloudWatchLogs, XML or Parquet.
    #[arg(long, value_name = "TYPE")]
    stream_type: Option<String>,
}

/// A command that names no file.
#[derive(clap::Parser)]
struct Unnamed {
    #[command(flatten)]
    config: ConfigArgument,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let role = arguments.role.is_some() || arguments.account.is_some();
    let external_id = role.then(|| arguments.external_id.clone().unwrap_or_else(random_id));
    let entry = arguments.entry(external_id.as_deref());
    match arguments.add(&entry) {
        Ok(Ok(())) => match print(&arguments.next(external_id.as_deref())) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failure(&error),
        },
        Ok(Err(problems)) => usage(&problems),
        Err(error) => failure(&error),
    }
}

impl Arguments {
    /// The source as it stands in the file.
    fn entry(&self, external_id: Option<&str>) -> String {
        let mut text = "\n[[sources]]\n".to_owned();
        let role_name = (self.role.is_none() && self.account.is_some()).then_some("default");
        let keys = [
            ("name", Some(self.name.trim())),
            ("bucket", Some(self.bucket.as_str())),
            ("account_id", self.account.as_deref()),
            ("region", self.region.as_deref()),
            ("role_arn", self.role.as_deref()),
            ("role_name", role_name),
            ("external_id", external_id),
            ("kms_key_arn", self.kms.as_deref()),
            ("stream_type", self.stream_type.as_deref()),
        ];
        for (key, value) in keys {
            if let Some(value) = value {
                line(&mut text, key, &value.into());
            }
        }
        let whole = [String::new()];
        for prefix in if self.prefixes.is_empty() { &whole[..] } else { &self.prefixes } {
            text += "\n[[sources.prefixes]]\n";
            line(&mut text, "prefix", &prefix.as_str().into());
            line(&mut text, "log_types", &self.log_types.as_slice().into());
        }
        text
    }

    /// Takes the place of the file with one that has the source, if that one is well; else says what is wrong with it.
    fn add(&self, entry: &str) -> anyhow::Result<Result<(), String>> {
        let named = &self.config.config;
        // A link stays one.
        let path = fs::canonicalize(named).with_context(|| format!("could not find {}", named.display()))?;
        let mut text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text += entry;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let failed = || format!("could not write beside {}", path.display());
        let new = tempfile::Builder::new().prefix(".margay-").suffix(".toml").tempfile_in(folder);
        let mut new = new.with_context(failed)?;
        new.write_all(text.as_bytes()).with_context(failed)?;
        new.as_file().sync_all().with_context(failed)?;
        let loaded = match config::load(new.path()) {
            Ok(loaded) => loaded,
            Err(problems) => {
                let told = problems.to_string();
                return Ok(Err(told.replace(&new.path().display().to_string(), &named.display().to_string())));
            }
        };
        if let Err(problems) = app::catalogue(&loaded) {
            return Ok(Err(self.config.located(&problems)));
        }
        fs::set_permissions(new.path(), fs::metadata(&path)?.permissions()).with_context(failed)?;
        new.persist(&path).with_context(|| format!("could not replace {}", path.display()))?;
        Ok(Ok(()))
    }

    /// What the next commands take where they would read another file by themselves.
    fn named_file(&self) -> String {
        let named = &self.config.config;
        match Unnamed::try_parse_from(["margay"]) {
            Ok(usual) if usual.config.config == *named => String::new(),
            _ => format!(" --config {}", quoted(&named.display().to_string())),
        }
    }

    /// What the accounts need now.
    fn next(&self, external_id: Option<&str>) -> String {
        let name = self.name.trim();
        let quoted = quoted(name);
        let mut text = format!("{name} is a source in {} now", self.config.config.display());
        if let Some(external_id) = external_id {
            text += &format!(", with the external id {external_id}");
        }
        text += ". Next:\n\n";
        let mut steps =
            vec![("margay source template queue".to_owned(), "for margay's account: print it again, and deploy it")];
        if external_id.is_some() && self.role.is_none() {
            steps.push((format!("margay source template iam --source {quoted}"), "for the account of the bucket"));
        }
        if self.account.is_some() {
            let of = |what: &str| format!("margay source template {what} --source {quoted}");
            steps.push((of("notifications"), "there, in the bucket's region"));
            steps.push((of("bucket --format json"), "what the bucket has to notify"));
        }
        steps.push((format!("margay source check {quoted}"), "tells what is missing"));
        let file = self.named_file();
        steps.iter_mut().for_each(|(command, _)| *command += &file);
        let width = steps.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
        for (command, what) in steps {
            writeln!(text, "  {command:width$}  # {what}").expect("a string takes everything");
        }
        text += "\nconfig/onboarding.md leads through these steps.\n";
        text
    }
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
}

/// A key of TOML, whose texts and lists of texts are written as those of JSON.
fn line(text: &mut String, key: &str, value: &serde_json::Value) {
    writeln!(text, "{key} = {value}").expect("a string takes everything");
}

/// A random UUID, which nobody guesses.
fn random_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    // Version 4, of the usual variant.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}
