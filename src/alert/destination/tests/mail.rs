//! E-mail against a server that speaks just enough SMTP.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// Takes one letter, and gives it back; `end` is the answer to the letter.
async fn server(end: &'static str) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    #[expect(clippy::disallowed_methods, reason = "the test awaits it")]
    let letter = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (reading, mut writing) = stream.into_split();
        let mut lines = BufReader::new(reading).lines();
        writing.write_all(b"220 fake\r\n").await.unwrap();
        let (mut letter, mut in_letter) = (String::new(), false);
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = match (in_letter, line.as_str()) {
                (true, ".") => {
                    in_letter = false;
                    end
                }
                (true, text) => {
                    letter.push_str(text);
                    letter.push('\n');
                    continue;
                }
                (false, "DATA") => {
                    in_letter = true;
                    "354 go on"
                }
                (false, "QUIT") => "221 bye",
                (false, _) => "250 well",
            };
            writing.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
            if line == "QUIT" {
                break;
            }
        }
        letter
    });
    (port, letter)
}

async fn sent(port: u16, alert: &Alert) -> Result<Taken, SendError> {
    let settings = json!({ "server": "127.0.0.1", "port": port, "security": "none",
        "from": "margay <alerts@company.example>", "to": ["soc@company.example", "boss@company.example"] });
    let line = built("mail", "email", settings, &BTreeMap::new()).await.unwrap();
    line.destination.send(&Message::new(alert, "mail", Some("https://margay.example"), 0, START)).await
}

#[tokio::test]
async fn a_title_can_t_add_a_header_and_html_is_escaped() {
    let (port, letter) = server("250 taken").await;
    let alert = Alert { title: "x\r\nBcc: attacker@evil.example".into(), description: "<script>".into(), ..common() };
    sent(port, &alert).await.unwrap();
    let letter = letter.await.unwrap();
    let (head, body) = letter.split_once("\n\n").unwrap();
    assert!(head.contains("Subject: New Alert: x Bcc: attacker@evil.example"), "{head}");
    assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    assert!(head.contains("To: soc@company.example, boss@company.example"), "{head}");
    assert!(head.contains("@margay>"), "{head}");
    let (_, html) = body.split_once("text/html").unwrap();
    assert!(html.contains("&lt;script&gt;") && !html.contains("<script>"), "{html}");
    assert!(body.contains("multipart/alternative") || head.contains("multipart/alternative"), "{head}");
}

#[tokio::test]
async fn the_worst_alert_is_a_letter_too() {
    let (port, letter) = server("250 taken").await;
    sent(port, &worst()).await.unwrap();
    let letter = letter.await.unwrap();
    assert!(letter.len() < 2_000_000 && letter.lines().all(|line| line.len() < 998), "{}", letter.len());
}

#[tokio::test]
async fn what_the_server_says_is_judged() {
    for (end, failure) in [("450 later", Failure::Unavailable(None)), ("554 no", Failure::Refused)] {
        let (port, letter) = server(end).await;
        let error = sent(port, &common()).await.unwrap_err();
        assert_eq!(error.failure, failure, "{error}");
        assert!(error.reason.contains("127.0.0.1"), "{error}");
        letter.await.unwrap();
    }
    let error = sent(1, &common()).await.unwrap_err();
    assert_eq!(error.failure, Failure::Unavailable(None));
}

#[tokio::test]
async fn a_password_does_not_go_over_an_open_line() {
    let settings = json!({ "server": "127.0.0.1", "security": "none", "from": "a@b.example", "to": ["a@b.example"],
        "user": "u", "password": "env:KEY" });
    let problem = built("mail", "email", settings, &BTreeMap::new()).await.err().unwrap();
    assert!(problem.contains("in the open"), "{problem}");
}
