//! Where alerts go, built from the configuration: secrets are read, addresses and settings judged.

use std::path::Path;

use aws_config::SdkConfig;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::alert::destination::{Building, Line, build};
use crate::alert::outbound::Client;
use crate::aws;
use crate::config::{Config, Secrets};

/// Every enabled destination, or everything that hinders one. `path` is that of the configuration file.
pub async fn destinations(path: &Path, config: &Config) -> Result<Vec<Line>, Vec<String>> {
    let secrets = Secrets::beside(path);
    // A system without certificate authorities is good for whoever sends nothing out.
    let goes_out = config.alerts.destinations.iter().any(|own| own.enabled && own.file.is_none());
    let client = if goes_out { Client::new() } else { Ok(Client::without_authorities()) };
    let client = client.map_err(|problem| vec![problem])?;
    let with = Building { client, secret: &|reference| secrets.get(reference), sdk: &sdk };
    build(&config.alerts, &with).await
}

fn sdk(region: String, role: Option<String>) -> BoxFuture<'static, SdkConfig> {
    aws::sdk_config_for(region, role).boxed()
}
