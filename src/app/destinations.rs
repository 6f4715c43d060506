//! Where alerts go, built from the configuration: secrets are read, addresses and settings judged.

use std::path::Path;
use std::sync::Arc;

use aws_config::SdkConfig;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::secrets::secrets;
use crate::alert::destination::{Building, Line, build};
use crate::alert::outbound::Client;
use crate::aws::{self, vault::Vault};
use crate::config::Config;

/// Every enabled destination, or everything that hinders one. `path` is that of the configuration file.
pub async fn destinations(path: &Path, config: &Config, vault: &Vault) -> Result<Vec<Line>, Vec<String>> {
    let enabled = || config.alerts.destinations.iter().filter(|own| own.enabled);
    let secrets = secrets(path, enabled().flat_map(|own| own.secrets()), vault).await;
    // A system without certificate authorities is good for whoever sends nothing out.
    let goes_out = enabled().any(|own| own.file.is_none());
    let client = if goes_out { Client::new() } else { Ok(Client::without_authorities()) };
    let client = client.map_err(|problem| vec![problem])?;
    let with = Building { client, secret: &|reference| secrets.get(reference), sdk: &sdk };
    build(&config.alerts, &with).await
}

fn sdk(region: String, role: Option<String>) -> BoxFuture<'static, SdkConfig> {
    aws::sdk_config_for(region, role).boxed()
}

/// Where alerts go, and what keeps the secrets for that.
pub(super) struct Outlets {
    pub(super) lines: Vec<Line>,
    pub(super) vault: Arc<Vault>,
}
