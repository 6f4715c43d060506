//! Requests over real sockets of this machine, with a resolver that answers as told.

use std::sync::Mutex;

use super::*;
use crate::alert::fake::{Vendor, answer};

/// One answer a call; the last one for good.
struct Script {
    answers: Vec<IpAddr>,
    calls: Mutex<usize>,
}

#[async_trait]
impl Resolve for Script {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let mut calls = self.calls.lock().unwrap();
        *calls += 1;
        Ok(vec![self.answers[(*calls - 1).min(self.answers.len() - 1)]])
    }
}

fn script(answers: &[&str]) -> Arc<Script> {
    let answers = answers.iter().map(|address| address.parse().unwrap()).collect();
    Arc::new(Script { answers, calls: Mutex::new(0) })
}

/// HTTP to one loopback address, whatever the name. A name that is allowed has all ports, so the range is what counts.
fn policy(cidr: &str) -> Policy {
    Policy { allow_http: true, allow_cidrs: vec![cidr.parse().unwrap()], ..Policy::default() }
}

fn request(url: &str) -> Request {
    Request::json(Url::parse(url).unwrap(), &serde_json::json!({ "a": 1 }))
}

fn soon() -> Instant {
    Instant::now() + TOTAL_LIMIT
}

async fn sent(resolver: Arc<Script>, policy: &Policy, url: &str) -> Result<Response, String> {
    Client::with(resolver, RootCertStore::empty()).send(policy, request(url)).await
}

#[tokio::test]
async fn a_name_that_resolves_otherwise_a_moment_later_changes_nothing() {
    let vendor = Vendor::answering(answer("200 OK", "", "well")).await;
    let resolver = script(&["127.0.0.1", "127.0.0.2"]);
    let addresses = Client::with(resolver.clone(), RootCertStore::empty());
    let checked = addresses.checked_addresses(&policy("127.0.0.1/32"), "rebinding.example").await.unwrap();
    let stream = connect("rebinding.example", &checked, vendor.port).await.unwrap();
    let answer = talk(stream, "rebinding.example", request("http://rebinding.example/path?q=1"), soon()).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"well"[..]));
    assert_eq!(*resolver.calls.lock().unwrap(), 1, "the name was resolved once");
    let received = &vendor.received()[0];
    assert_eq!(received.line, "POST /path?q=1 HTTP/1.1");
    assert_eq!(received.header("host"), Some("rebinding.example"));

    // The other way round: what is refused at the check is not asked for again.
    let resolver = script(&["127.0.0.2", "127.0.0.1"]);
    let refused = sent(resolver.clone(), &policy("127.0.0.1/32"), "http://rebinding.example/").await.unwrap_err();
    assert!(refused.contains("loopback address 127.0.0.2"), "{refused}");
    assert_eq!(*resolver.calls.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_name_with_an_inner_address_is_refused() {
    for (address, kind) in
        [("10.0.0.1", "private"), ("::ffff:169.254.169.254", "link-local"), ("fd00:ec2::254", "private")]
    {
        let refused = sent(script(&[address]), &Policy::default(), "https://hooks.example/x").await.unwrap_err();
        assert!(refused.contains(kind) && refused.contains("allow_cidrs") && !refused.contains("/x"), "{refused}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let inner = Vendor::answering(answer("200 OK", "", "secret")).await;
    let location = format!("Location: {}/\r\n", inner.url());
    let vendor = Vendor::answering(answer("302 Found", &location, "")).await;
    let policy = Policy { allow_http: true, allow_hosts: vec!["127.0.0.1".into()], ..Policy::default() };
    let answer = sent(script(&["127.0.0.1"]), &policy, &vendor.url()).await.unwrap();
    assert_eq!(answer.status.as_u16(), 302);
    assert!(inner.received().is_empty());
}

#[tokio::test]
async fn of_a_long_answer_only_the_beginning_is_kept() {
    let vendor = Vendor::answering(answer("500 No", "", &"x".repeat(10_000_000))).await;
    let policy = Policy { allow_http: true, allow_hosts: vec!["127.0.0.1".into()], ..Policy::default() };
    let answer = sent(script(&["127.0.0.1"]), &policy, &vendor.url()).await.unwrap();
    assert_eq!(answer.body.len(), BODY_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn silence_and_garbage_are_failures() {
    let policy = Policy { allow_http: true, allow_hosts: vec!["127.0.0.1".into()], ..Policy::default() };
    for (answer, why) in [("", "did not answer within 20 s"), ("\u{1}\u{2}garbage\r\n\r\n", "the exchange with")] {
        let vendor = Vendor::answering(answer).await;
        let failed = sent(script(&["127.0.0.1"]), &policy, &vendor.url()).await.unwrap_err();
        assert!(failed.contains(why), "{failed}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_an_answer_that_falls_silent_is_kept_what_has_come() {
    // The head may come at the last moment.
    for end in [TOTAL_LIMIT, Duration::ZERO] {
        let end = Instant::now() + Duration::from_secs(1) + end;
        let (inner, mut outer) = tokio::io::duplex(64 * 1024);
        let serving = async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut request = [0; 4096];
            let _ = outer.read(&mut request).await;
            let _ = outer.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nbegun").await;
            outer
        };
        let asking = talk(inner, "hooks.example", request("https://hooks.example/"), end);
        // The connection stays open meanwhile.
        let (answer, _open) = tokio::join!(asking, serving);
        let answer = answer.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (201, &b"begun"[..]));
        assert!(Instant::now() < end);
    }
}

#[test]
fn a_header_with_a_line_end_can_t_be_made() {
    let request = request("https://hooks.example/");
    let refused = request.secret_header(header::AUTHORIZATION, "hunter2\r\nX: y").err().unwrap();
    assert!(refused.contains("authorization") && !refused.contains("hunter2"), "{refused}");
}

#[tokio::test]
async fn a_certificate_must_be_of_the_name_and_of_a_known_authority() {
    let own = rcgen::generate_simple_self_signed(vec!["hooks.example".into()]).unwrap();
    let certificate = own.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    for (name, known, good) in
        [("hooks.example", true, true), ("other.example", true, false), ("hooks.example", false, false)]
    {
        let roots = if known { roots.clone() } else { RootCertStore::empty() };
        let client = Client::with(script(&["127.0.0.1"]), roots);
        let (inner, outer) = tokio::io::duplex(64 * 1024);
        let acceptor = acceptor.clone();
        let serving = async move {
            let Ok(mut stream) = acceptor.accept(outer).await else { return };
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer("204 No Content", "", "").as_bytes()).await;
        };
        let asking = async {
            let server = ServerName::try_from(name).unwrap();
            let stream = client.tls.connect(server, inner).await.map_err(|error| error.to_string())?;
            talk(stream, name, request(&format!("https://{name}/")), soon()).await
        };
        let (answer, ()) = tokio::join!(asking, serving);
        assert_eq!(answer.is_ok(), good, "{name}: {answer:?}");
    }
}
