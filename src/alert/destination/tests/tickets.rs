//! Destinations that make a ticket of each alert: what comes later goes to that one.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::alert::delivery::{self, Delivery};
use crate::alert::message::shared;
use crate::model::{AlertStatus, News, Receiver, Taken};
use crate::runtime::Clock;
use crate::state::memory::MemoryState;
use crate::state::{Condition, Desk, Notice, Notices, TriageChange};
use crate::telemetry::Telemetry;

/// The answer to the request that makes a ticket, and what the ticket is called.
fn made(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "jira" => (r#"{"id":"10000","key":"SEC-24","self":"https://x/rest/api/2/issue/10000"}"#, "SEC-24"),
        "github" => (r#"{"id":1,"node_id":"x","number":1347,"title":"t"}"#, "1347"),
        "asana" => (r#"{"data":{"gid":"12345","resource_type":"task"}}"#, "12345"),
        _ => (
            r#"{"result":{"sys_id":"d977b66a4f411200adf9f8e18110c7b2","number":"INC1"}}"#,
            "d977b66a4f411200adf9f8e18110c7b2",
        ),
    }
}

/// The same as it is kept.
fn kept(kind: &str) -> String {
    format!("{kind}:{}", made(kind).1)
}

const KINDS: [&str; 4] = ["jira", "github", "asana", "servicenow"];

const TRANSITIONS: &str = r#"{"transitions":[{"id":"11","name":"Start","to":{"name":"In Progress"}},
    {"id":"31","name":"Close it","to":{"name":"Done"}}]}"#;

/// What the vendor is sent of this news, with the settings of the kind and more of them; and what it told.
async fn followed(kind: &str, more: &Value, ticket: &str, news: News, answers: &[&str]) -> (Vec<Value>, Taken) {
    let answers = answers.iter().map(|body| answer("200 OK", "", body)).collect();
    let vendor = Vendor::answering_each(answers).await;
    let (_, mut settings) = kinds(&vendor.url()).into_iter().find(|(own, _)| *own == kind).unwrap();
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let line = built("soc", kind, settings, &urls(&vendor.url())).await.unwrap();
    let alert = Alert { status: AlertStatus::Resolved, event_count: 40, ..common() };
    let message = Message::new(&alert, "soc", Some("https://margay.example"), 0, START);
    let taken = line.destination.send(&message.telling(news).about(Some(ticket))).await.unwrap();
    let shown = |one: Received| {
        let body = if one.body.is_empty() { Value::Null } else { one.json() };
        json!({ "line": one.line, "authorized": one.header("authorization").is_some(), "body": body })
    };
    (vendor.received().into_iter().map(shown).collect(), taken)
}

#[tokio::test]
async fn the_ticket_is_read_from_the_answer_however_long_that_is() {
    for kind in KINDS {
        let (answered, _) = made(kind);
        // Vendors repeat what they were sent, behind or before what counts.
        let long = answered.replacen('{', &format!(r#"{{"echo":"{}","#, "x".repeat(100_000)), 1);
        for (body, expected) in [(answered, Some(kept(kind))), (&*long, Some(kept(kind))), ("accepted", None)] {
            let vendor = Vendor::answering(answer("201 Created", "", body)).await;
            let (_, settings) = kinds(&vendor.url()).into_iter().find(|(own, _)| *own == kind).unwrap();
            let line = built("soc", kind, settings, &urls(&vendor.url())).await.unwrap();
            let alert = common();
            let taken = line.destination.send(&Message::new(&alert, "soc", None, 0, START)).await.unwrap();
            assert_eq!(taken, Taken { status: Some(201), ticket: expected }, "{kind}");
        }
    }
}

#[tokio::test]
async fn an_answer_leads_nowhere_else() {
    for hostile in ["../../admin", "1/../2", "a?b", "", &"9".repeat(65), "1%2f"] {
        let body = json!({ "key": hostile }).to_string();
        let vendor = Vendor::answering(answer("201 Created", "", &body)).await;
        let (_, settings) = kinds(&vendor.url()).into_iter().find(|(own, _)| *own == "jira").unwrap();
        let line = built("soc", "jira", settings, &urls(&vendor.url())).await.unwrap();
        let alert = common();
        let taken = line.destination.send(&Message::new(&alert, "soc", None, 0, START)).await.unwrap();
        assert_eq!(taken.ticket, None, "{hostile}");
    }
}

#[tokio::test]
async fn what_comes_later_is_told_in_the_ticket() {
    for kind in KINDS {
        let ticket = kept(kind);
        let (sent, taken) = followed(kind, &json!({}), &ticket, News::Updated, &["{}"]).await;
        assert_eq!(taken, Taken::with(Some(200)), "{kind}");
        insta::assert_json_snapshot!(format!("{kind}_updated"), sent);
        let (sent, _) = followed(kind, &json!({}), &ticket, News::Resolved, &["{}"]).await;
        insta::assert_json_snapshot!(format!("{kind}_resolved"), sent);
    }
}

#[tokio::test]
async fn a_ticket_of_several_alerts_does_not_end_with_one_of_them() {
    for kind in KINDS {
        let (_, ticket) = made(kind);
        let more = match kind {
            "jira" => json!({ "done_transition": "Done" }),
            "servicenow" => json!({ "close_code": "Solution provided" }),
            _ => json!({}),
        };
        let (sent, _) = followed(kind, &more, &shared(&kept(kind)), News::Resolved, &["{}"]).await;
        let [comment] = &sent[..] else { panic!("{kind}: {sent:?}") };
        assert!(comment["line"].as_str().unwrap().contains(ticket) && !comment["line"].as_str().unwrap().contains('~'));
        assert!(!comment.to_string().contains("Solution provided"), "{comment}");
    }
}

#[tokio::test]
async fn an_end_moves_what_has_a_workflow_where_the_settings_say_how() {
    for wanted in ["done", "CLOSE IT"] {
        let more = json!({ "done_transition": wanted });
        let (sent, _) = followed("jira", &more, "jira:SEC-24", News::Resolved, &[TRANSITIONS, "", "{}"]).await;
        let lines: Vec<&str> = sent.iter().map(|one| one["line"].as_str().unwrap()).collect();
        let path = "/rest/api/latest/issue/SEC-24";
        let expected =
            [format!("GET {path}/transitions"), format!("POST {path}/transitions"), format!("POST {path}/comment")];
        assert_eq!(lines, expected.map(|line| format!("{line} HTTP/1.1")));
        assert_eq!(sent[1]["body"], json!({ "transition": { "id": "31" } }));
    }
    // Somebody has moved it before.
    let more = json!({ "done_transition": "Gone" });
    let (sent, _) = followed("jira", &more, "jira:SEC-24", News::Resolved, &[TRANSITIONS, "{}"]).await;
    assert_eq!(sent.len(), 2);
    assert!(sent[1]["body"]["body"].as_str().unwrap().contains("no transition `Gone`"), "{}", sent[1]);
    let more = json!({ "close_code": "Solution provided" });
    let (sent, _) = followed("servicenow", &more, &kept("servicenow"), News::Resolved, &["{}"]).await;
    assert_eq!((&sent[0]["body"]["state"], &sent[0]["body"]["close_code"]), (&json!("6"), &json!("Solution provided")));
}

#[tokio::test]
async fn a_ticket_that_can_t_be_reached_is_a_refusal_and_no_second_ticket() {
    let vendor = Vendor::answering(answer("404 Not Found", "", "gone")).await;
    let (_, settings) = kinds(&vendor.url()).into_iter().find(|(own, _)| *own == "github").unwrap();
    let line = built("soc", "github", settings, &urls(&vendor.url())).await.unwrap();
    let alert = common();
    let message = Message::new(&alert, "soc", None, 0, START).telling(News::Resolved).about(Some("github:7"));
    assert_eq!(line.destination.send(&message).await.unwrap_err().failure, Failure::Refused);
    let sent = vendor.received();
    assert_eq!((sent.len(), &*sent[0].line), (1, "PATCH /repos/company/alerts/issues/7 HTTP/1.1"));
}

#[tokio::test]
async fn an_end_without_a_ticket_of_this_kind_makes_none() {
    for kind in KINDS {
        let vendor = Vendor::answering(answer("201 Created", "", made(kind).0)).await;
        let (_, settings) = kinds(&vendor.url()).into_iter().find(|(own, _)| *own == kind).unwrap();
        let line = built("soc", kind, settings, &urls(&vendor.url())).await.unwrap();
        let alert = common();
        for ticket in [None, Some("other:7")] {
            let message = Message::new(&alert, "soc", None, 0, START).telling(News::Resolved).about(ticket);
            assert_eq!(line.destination.send(&message).await.unwrap(), Taken::default(), "{kind}");
        }
        assert_eq!(vendor.received().len(), 0, "{kind}");
        // What is not over yet gets a ticket of this kind.
        let message = Message::new(&alert, "soc", None, 0, START).telling(News::Updated).about(Some("other:7"));
        assert_eq!(line.destination.send(&message).await.unwrap().ticket, Some(kept(kind)));
    }
}

/// From the alert over the outbox to the vendor and back again.
#[tokio::test]
async fn the_recovery_of_a_system_alert_closes_the_ticket_that_told_of_it() {
    let answers = [made("github").0, "{}", "{}"].map(|body| answer("200 OK", "", body)).to_vec();
    let vendor = Vendor::answering_each(answers).await;
    let (_, settings) = kinds(&vendor.url()).into_iter().find(|(own, _)| *own == "github").unwrap();
    let line = built("soc", "github", settings, &urls(&vendor.url())).await.unwrap();
    let state = Arc::new(MemoryState::new());
    let deliver = async || {
        let delivery = Delivery {
            outbox: state.clone(),
            link_base: None,
            clock: Arc::new(Fixed),
            telemetry: Telemetry::new(),
            backlogs: Arc::default(),
            doubt: Arc::default(),
        };
        let stopped = CancellationToken::new();
        stopped.cancel();
        delivery::run(delivery, watch::channel(vec![line.clone()]).1, Arc::default(), stopped).await;
    };
    let notice = Notice {
        condition: Condition::LakeStalled,
        subject: "lake".into(),
        title: "Rows can't be committed".into(),
        description: "d".into(),
        runbook: "r".into(),
    };
    let id = state.raise(&notice, &[Receiver::accepting_all("soc")], START).await.unwrap().unwrap().id;
    deliver().await;
    let end = TriageChange { status: Some(AlertStatus::Resolved), tell: vec!["soc".into()], ..TriageChange::default() };
    state.triage(&[id], &end, "margay", START).await.unwrap();
    deliver().await;
    deliver().await;
    let sent: Vec<String> = vendor.received().into_iter().map(|one| one.line).collect();
    let issues = "/repos/company/alerts/issues";
    let expected = [format!("POST {issues}"), format!("PATCH {issues}/1347"), format!("POST {issues}/1347/comments")];
    assert_eq!(sent, expected.map(|line| format!("{line} HTTP/1.1")));
}

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> time::OffsetDateTime {
        START
    }
}
