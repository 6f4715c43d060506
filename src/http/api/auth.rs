//! Who may use the API: whoever has a token. Without any token it is off, except for callers on the same host where the
//! configuration says so.

use std::net::SocketAddr;

use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Refusal;
use crate::model::Secret;

/// Shorter ones can be guessed.
const LEAST: usize = 16;

/// Who a caller without a token is, in the history of an alert.
const LOCAL: &str = "local";

#[derive(Default)]
pub struct Access {
    /// Names, and hashes: of one length whatever the token is, so that comparing tells nothing of it.
    tokens: Vec<(String, [u8; 32])>,
    /// Callers on the same host need none.
    local: bool,
}

impl Access {
    pub fn new(tokens: Vec<(String, Secret)>, local: bool) -> Result<Access, String> {
        if let Some((name, _)) = tokens.iter().find(|(_, token)| token.expose().len() < LEAST) {
            return Err(format!("the token `{name}` has fewer than {LEAST} characters; make a longer one"));
        }
        let hashed = tokens.into_iter().map(|(name, token)| (name, Sha256::digest(token.expose()).into()));
        Ok(Access { tokens: hashed.collect(), local })
    }

    /// The caller's name.
    pub(super) fn admit(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<String, Refusal> {
        if let Some(token) = bearer(headers) {
            return self.known(token).ok_or_else(|| unauthorized("the token is not known"));
        }
        let is_local = peer.ip().to_canonical().is_loopback() && is_local_host(headers);
        match (self.local, self.tokens.is_empty()) {
            (true, _) if is_local => Ok(LOCAL.into()),
            (_, false) => Err(unauthorized("send `Authorization: Bearer <token>`")),
            (true, true) => {
                Err(Refusal(StatusCode::FORBIDDEN, "the API is open to callers on the same host only".into()))
            }
            (false, true) => Err(Refusal(
                StatusCode::NOT_FOUND,
                "the API is off; give it a token in `http.tokens`, or set `http.api_without_token`".into(),
            )),
        }
    }

    /// Compares with every token, so that the time tells neither which nor how much of it is right.
    fn known(&self, token: &str) -> Option<String> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for (name, own) in &self.tokens {
            if bool::from(own.ct_eq(&hash)) {
                found = Some(name.clone());
            }
        }
        found
    }
}

fn unauthorized(text: &str) -> Refusal {
    Refusal(StatusCode::UNAUTHORIZED, text.into())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A browser on the same host can be brought to ask for another name that leads here; it says that name.
fn is_local_host(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";
    const HERE: &str = "127.0.0.1:5";
    const THERE: &str = "10.0.0.1:5";

    fn asked(access: &Access, peer: &str, host: &str, authorization: Option<&str>) -> Result<String, StatusCode> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        access.admit(&headers, peer.parse().unwrap()).map_err(|Refusal(status, _)| status)
    }

    fn access(tokens: &[(&str, &str)], local: bool) -> Access {
        let tokens = tokens.iter().map(|(name, token)| (name.to_string(), Secret::new(*token)));
        Access::new(tokens.collect(), local).unwrap()
    }

    #[test]
    fn a_token_lets_in_and_gives_a_name() {
        let access = access(&[("a", TOKEN), ("b", "another-long-token")], false);
        assert_eq!(asked(&access, THERE, "x", Some("Bearer another-long-token")), Ok("b".into()));
        assert_eq!(asked(&access, THERE, "x", Some(&format!("bearer {TOKEN}"))), Ok("a".into()));
        for refused in [None, Some("Bearer x"), Some("Basic YTpi"), Some(&format!("Bearer {TOKEN}0")), Some("Bearer ")]
        {
            assert_eq!(asked(&access, HERE, "localhost", refused), Err(StatusCode::UNAUTHORIZED), "{refused:?}");
        }
    }

    #[test]
    fn without_a_token_the_api_is_off_or_local() {
        assert_eq!(asked(&access(&[], false), HERE, "localhost", None), Err(StatusCode::NOT_FOUND));
        let local = access(&[], true);
        for host in ["localhost", "localhost:9600", "127.0.0.1:9600", "[::1]:9600", "127.0.0.1"] {
            assert_eq!(asked(&local, HERE, host, None), Ok(LOCAL.into()), "{host}");
        }
        assert_eq!(asked(&local, THERE, "localhost", None), Err(StatusCode::FORBIDDEN));
        for host in ["attacker.example:9600", "attacker.example", "localhost.attacker.example", ""] {
            assert_eq!(asked(&local, HERE, host, None), Err(StatusCode::FORBIDDEN), "{host}");
        }
        assert_eq!(asked(&local, HERE, "localhost", Some("Bearer x")), Err(StatusCode::UNAUTHORIZED));
    }

    #[test]
    fn a_short_token_is_refused() {
        let short = Access::new(vec![("a".into(), Secret::new("hunter2"))], false).err().unwrap();
        assert!(short.contains("`a`") && !short.contains("hunter2"), "{short}");
    }
}
