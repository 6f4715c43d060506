//! E-mail over SMTP: readable text and the same as HTML. The server is reached at an address that was checked, as with
//! HTTP; its certificate must be that of its name.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use serde::{Deserialize, Serialize};

use super::api::Secrets;
use super::sns::digest;
use super::{Destination, SendError};
use crate::alert::message::Message;
use crate::alert::outbound::{Client, Policy};
use crate::alert::render::safe;
use crate::alert::text::{cut, html};
use crate::model::{Secret, SecretRef, Taken};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: String,
    /// 587 for `starttls`, 465 for `tls` and 25 for `none`, unless another is named.
    pub port: Option<u16>,
    #[serde(default)]
    pub security: Security,
    pub user: Option<String>,
    pub password: Option<SecretRef>,
    /// `margay <alerts@company.example>`
    pub from: String,
    pub to: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Plain at first, and refused when it can't be made secure.
    #[default]
    Starttls,
    Tls,
    None,
}

const SUBJECT: usize = 250;
const TEXT: usize = 100_000;
/// Of each command and answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Email {
    name: String,
    config: Config,
    from: Mailbox,
    to: Vec<Mailbox>,
    password: Option<Secret>,
    policy: Policy,
    client: Client,
}

impl Email {
    pub fn new(
        name: String,
        config: &Config,
        policy: Policy,
        client: Client,
        secrets: Secrets<'_>,
    ) -> Result<Email, String> {
        let mailbox = |text: &String| {
            text.parse::<Mailbox>().map_err(|error| format!("has `{text}`, which is no address of e-mail: {error}"))
        };
        let to = config.to.iter().map(mailbox).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err("has nobody in `to`".into());
        }
        if config.user.is_some() != config.password.is_some() {
            return Err("has one of `user` and `password`; give both or neither".into());
        }
        if config.security == Security::None && config.password.is_some() {
            return Err("would send its password in the open; use `security = \"starttls\"` or `\"tls\"`".into());
        }
        let password = config.password.as_ref().map(secrets).transpose()?;
        Ok(Email { name, from: mailbox(&config.from)?, to, config: config.clone(), password, policy, client })
    }

    fn letter(&self, message: &Message<'_>) -> Result<lettre::Message, String> {
        let id = format!("<{}@margay>", digest(&message.key));
        let mut letter = lettre::Message::builder()
            .from(self.from.clone())
            .subject(cut(&message.title, SUBJECT))
            .date(message.alert.created_at.into())
            .message_id(Some(id));
        for to in &self.to {
            letter = letter.to(to.clone());
        }
        let text = message.readable(TEXT);
        let page = format!("<pre>{}</pre>\n", html(&text));
        let plain = SinglePart::builder().header(ContentType::TEXT_PLAIN).body(text);
        let page = SinglePart::builder().header(ContentType::TEXT_HTML).body(page);
        letter
            .multipart(MultiPart::alternative().singlepart(plain).singlepart(page))
            .map_err(|error| format!("could not write the letter: {error}"))
    }

    /// To one checked address; the name is what the certificate must be of.
    async fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, SendError> {
        let server = &self.config.server;
        let addresses = match server.parse() {
            Ok(address) => self.policy.check_address(server, address).map(|()| vec![address]),
            Err(_) => self.client.checked_addresses(&self.policy, server).await,
        };
        let address = addresses.map_err(SendError::unavailable)?[0];
        let secured = || {
            TlsParameters::new(server.clone())
                .map_err(|error| SendError::permanent(format!("TLS can't be set up for `{server}`: {error}")))
        };
        let (tls, port) = match self.config.security {
            Security::Starttls => (Tls::Required(secured()?), 587),
            Security::Tls => (Tls::Wrapper(secured()?), 465),
            Security::None => (Tls::None, 25),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.to_string())
            .port(self.config.port.unwrap_or(port))
            .tls(tls)
            .timeout(Some(PATIENCE));
        if let (Some(user), Some(password)) = (&self.config.user, &self.password) {
            transport = transport.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
        }
        Ok(transport.build())
    }
}

#[async_trait]
impl Destination for Email {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, message: &Message<'_>) -> Result<Taken, SendError> {
        let letter = self.letter(message).map_err(SendError::permanent)?;
        let Err(error) = self.transport().await?.send(letter).await else { return Ok(Taken::default()) };
        let cause = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        let mut reason = safe(&format!("`{}` did not take it: {error}{cause}", self.config.server));
        if let Some(password) = &self.password {
            reason = password.redact(&reason);
        }
        // 5yz: the command was not accepted, and would not be if it were repeated.
        Err(if error.is_permanent() { SendError::refused(reason) } else { SendError::unavailable(reason) })
    }
}
