//! An explanation for people: one line a step, its name first. Long lines are not broken; a terminal does that.

use std::fmt::{Display, Write as _};

use crate::alert::render::safe;
use crate::model::AlertKind;
use crate::pipeline::explain::{
    DecodedTold, EntryTold, Extent, Halt, HitTold, IdentityTold, LedgerTold, NoticeTold, ObjectTold, ReadTold,
    RecordEnd, RecordTold, RulesTold, SourceTold, Told,
};

/// Characters of the raw text of a bad record that are shown.
const RAW: usize = 200;

/// Lines that grow: the name of a step, then what it is.
struct Page(String);

impl Page {
    fn line(&mut self, name: &str, text: impl Display) {
        // Writing to a string does not fail. What is shown comes from outside: it must not move the cursor.
        let _ = writeln!(self.0, "{}", format!("  {name:<13}{}", safe(&text.to_string())).trim_end());
    }

    fn title(&mut self, text: &str) {
        let _ = writeln!(self.0, "{}", safe(text));
    }
}

pub(super) fn text(told: &Told) -> String {
    let mut page = Page(String::new());
    if let Some(said) = &told.notification {
        notice(&mut page, said);
    }
    for (place, about) in told.objects.iter().enumerate() {
        if place > 0 || told.notification.is_some() {
            page.title("");
        }
        object(&mut page, about);
    }
    page.0
}

fn notice(page: &mut Page, said: &NoticeTold) {
    let kind = if said.format.is_empty() { "of no known format" } else { said.format };
    page.title(&format!("notification {kind}"));
    if said.setup.is_none() && said.stop.as_ref().is_none_or(|_| !said.format.is_empty()) {
        page.line("announces", count(said.objects as u64, "object"));
    }
    if let Some(setup) = &said.setup {
        page.line("says", setup);
    }
    for what in &said.ignored {
        page.line("ignored", format_args!("a record about {what:?}, which is no new object"));
    }
    for bad in &said.bad {
        page.line("bad record", &bad.reason);
        page.line("", bad.raw.chars().take(RAW).collect::<String>());
    }
    if let Some(stop) = &said.stop {
        halt(page, stop);
    }
}

fn object(page: &mut Page, about: &ObjectTold) {
    page.title(&about.address);
    if let Some(other) = &about.announced_as {
        page.line(
            "announced as",
            format_args!("{other}, where there is nothing; this is the other spelling of the key"),
        );
    }
    let parts = [
        about.size.map(|size| format!("{size} bytes")),
        about.version_id.as_ref().map(|version| format!("version {version}")),
        about.etag.as_ref().map(|etag| format!("ETag {etag}")),
        about.restored.then(|| "brought back from an archive".to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if !parts.is_empty() {
        page.line("object", parts.join(", "));
    }
    match &about.source {
        Some(taken) => source(page, taken),
        None if about.sources_of_bucket.is_empty() => page.line("source", "none; no source has this bucket"),
        None => {
            let others = about.sources_of_bucket.join(", ");
            page.line("source", format_args!("none; these have the bucket, and no prefix that fits: {others}"));
        }
    }
    if let Some(who) = &about.identity {
        identity(page, who);
    }
    if let Some(found) = &about.decoded {
        decoded(page, found);
    }
    if let Some(so_far) = &about.read {
        read(page, so_far, about.size);
    }
    about.records.iter().for_each(|one| record(page, one));
    for event in &about.events {
        page.line("event", serde_json::to_string(event).expect("an event has string keys"));
    }
    match &about.ledger {
        Some(known) => ledger(page, known),
        None => page.line("ledger", "there is no state file"),
    }
    if let Some(said) = &about.rules {
        rules(page, said);
    }
    match &about.stop {
        Some(stop) => halt(page, stop),
        None => page.line("ends", end(about)),
    }
}

fn end(about: &ObjectTold) -> &'static str {
    let known = about.ledger.as_ref().and_then(|ledger| ledger.entry.as_ref());
    match known.is_some_and(|entry| entry.is_final) {
        true => "it is done: announced again, it is not read again",
        false => "it would be processed: its events go to the rules and to the lake",
    }
}

fn source(page: &mut Page, taken: &SourceTold) {
    let SourceTold { name, prefix, excluded_by, others, log_types } = taken;
    page.line("source", format_args!("{name}, by its prefix {prefix:?}"));
    for other in others {
        page.line("", format_args!("not {} by {:?}, which is shorter", other.source, other.prefix));
    }
    if let Some(excluded) = excluded_by {
        page.line("excluded", format_args!("by {excluded:?}; no shorter prefix is asked"));
    }
    if !log_types.is_empty() {
        page.line("log types", log_types.join(", "));
    }
}

fn identity(page: &mut Page, who: &IdentityTold) {
    let reader = match (&who.role_arn, &who.session) {
        (Some(role), Some(session)) => {
            let secret = if who.has_external_id { ", with its external id" } else { "" };
            format!("{role}, session {session}{secret}")
        }
        _ => "margay itself; the source has no role".to_owned(),
    };
    page.line("read as", reader);
    if let Some(region) = &who.region {
        page.line("region", format_args!("{}, from {}", region.name, region.from));
    }
    if let Some(owner) = &who.expected_owner {
        page.line("owner", format_args!("account {owner} must own the bucket"));
    }
    if let Some(key) = &who.kms_key_arn {
        page.line("key", key);
    }
    if who.requester_pays {
        page.line("pays", "the reader");
    }
    if let Some(endpoint) = &who.endpoint {
        page.line("endpoint", endpoint);
    }
}

fn decoded(page: &mut Page, found: &DecodedTold) {
    let layers = if found.layers.is_empty() { "none".to_owned() } else { found.layers.join(", then ") };
    page.line("compression", layers);
    if let Some(encoding) = found.encoding {
        page.line("text", encoding);
    }
    if let Some(stream) = &found.stream {
        let envelope = match stream.envelope.as_str() {
            "" => String::new(),
            envelope => format!(" under {envelope:?}"),
        };
        let delimited = if stream.delimited { " of delimited text" } else { "" };
        page.line("stream", format_args!("{}{delimited}{envelope}: {}", stream.kind.as_str(), stream.why));
    }
}

fn read(page: &mut Page, so_far: &ReadTold, size: Option<u64>) {
    let ReadTold { extent, stored_bytes, decoded_bytes, events, rejects, events_by_log_type } = so_far;
    let part = match (extent, size) {
        (Extent::Whole, _) => "all of it".to_owned(),
        (Extent::UpToFault, _) => "up to the fault".to_owned(),
        (Extent::Part, Some(size)) if *stored_bytes < size => {
            format!("the first {stored_bytes} of {size} bytes; --whole reads all")
        }
        (Extent::Part, _) => "a part of it; --whole reads all".to_owned(),
    };
    page.line("read", format_args!("{part} ({})", count(*decoded_bytes, "decompressed byte")));
    let mut kinds: Vec<String> =
        events_by_log_type.iter().map(|(log_type, events)| format!("{} {log_type}", count(*events, "event"))).collect();
    if *events == 0 {
        kinds.push("no event".to_owned());
    }
    if *rejects > 0 {
        kinds.push(count(*rejects, "reject"));
    }
    page.line("gives", kinds.join(", "));
}

fn record(page: &mut Page, one: &RecordTold) {
    let end = match &one.end {
        RecordEnd::Event { log_type, events: 1 } => log_type.clone(),
        RecordEnd::Event { log_type, events } => format!("{events} events of {log_type}"),
        RecordEnd::Consumed => "no event: a header or a comment".to_owned(),
        RecordEnd::Reject { reason } => format!("rejected: {reason}"),
    };
    page.line(&format!("record {}", one.ordinal + 1), end);
    for miss in &one.misses {
        page.line("", format_args!("not {}: {}", miss.log_type, miss.reason));
    }
}

fn ledger(page: &mut Page, known: &LedgerTold) {
    match &known.entry {
        Some(own) => page.line("ledger", entry(own)),
        None => page.line("ledger", "this object is not known"),
    }
    for other in &known.others {
        let named = match (&other.version_id, &other.etag) {
            (Some(version), _) => format!("version {version}"),
            (None, Some(etag)) => format!("ETag {etag}"),
            (None, None) => "no version".to_owned(),
        };
        page.line("", format_args!("another object of this key ({named}): {}", entry(other)));
    }
}

fn entry(of: &EntryTold) -> String {
    let mut text = of.state.to_owned();
    if let Some(finished) = &of.finished {
        text += &format!(" at {finished}");
    }
    if !of.reason.is_empty() {
        text += &format!(": {}", of.reason);
    }
    if of.started > 0 {
        text += &format!("; {}", count(of.started.into(), "attempt"));
    }
    if of.crashed > 0 {
        text += &format!(", {} crashed", of.crashed);
    }
    for (reason, times) in &of.given_up {
        text += &format!(", {times} given up for {reason:?}");
    }
    text
}

fn rules(page: &mut Page, said: &RulesTold) {
    if said.hits.is_empty() {
        page.line("rules", "none matches");
    }
    said.hits.iter().for_each(|one| hit(page, one));
    if said.more > 0 {
        page.line("", format_args!("and {} in further groups", count(said.more, "event")));
    }
    for log_type in &said.unwatched {
        page.line("", format_args!("no rule waits for {log_type}"));
    }
}

fn hit(page: &mut Page, one: &HitTold) {
    let verb = match one.kind {
        AlertKind::Rule => "matches",
        AlertKind::RuleError => "fails on",
        AlertKind::SystemError => unreachable!("no rule raises a system error"),
    };
    let (rule, severity, events) = (&one.rule, one.severity, count(one.events, "event"));
    page.line("rule", format_args!("{rule} {verb} {events}: {severity} {:?}, dedup {:?}", one.title, one.dedup));
    let alert = match (one.creates_alert, one.destinations.as_slice()) {
        (false, _) => "no alert: the rule has CreateAlert off".to_owned(),
        (true, []) => "an alert that goes nowhere".to_owned(),
        (true, destinations) => format!("an alert to {}", destinations.join(", ")),
    };
    let from = if one.threshold > 1 { format!(", from {} events on", one.threshold) } else { String::new() };
    page.line("", format_args!("{alert}{from}"));
}

fn halt(page: &mut Page, stop: &Halt) {
    page.line("stops", format_args!("at {}: {}", stop.at, stop.why));
    page.line("", &stop.then);
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
