//! Secrets of the configuration, wherever they lie, and the tokens of the API among them.

use std::path::Path;

use crate::aws::vault::Vault;
use crate::config::{Config, Secrets};
use crate::http::{self, Api};
use crate::model::{AwsSecret, SecretRef};

/// Who may use the API, with the tokens read.
pub async fn api(path: &Path, config: &Config, vault: &Vault) -> anyhow::Result<Api> {
    let secrets = secrets(path, config.http.tokens.iter().map(|own| &own.token), vault).await;
    let token = |own: &http::TokenConfig| {
        let token =
            secrets.get(&own.token).map_err(|problem| anyhow::anyhow!("`http.tokens` (`{}`) {problem}", own.name))?;
        Ok((own.name.clone(), token))
    };
    let tokens = config.http.tokens.iter().map(token).collect::<anyhow::Result<Vec<_>>>()?;
    let access = http::Access::new(tokens, config.http.api_without_token);
    Ok(Api::new(access.map_err(|problem| anyhow::anyhow!("`http.tokens`: {problem}"))?))
}

/// What these refer to, with those of AWS read.
pub(super) async fn secrets<'a>(
    path: &Path,
    wanted: impl IntoIterator<Item = &'a SecretRef>,
    vault: &Vault,
) -> Secrets {
    Secrets::beside(path).with(vault.read(of_aws(wanted)).await)
}

/// Forgets what is referred to neither by these destinations nor by the API, whose tokens are those of the start.
pub(super) async fn forget_others(config: &Config, started: &Config, vault: &Vault) {
    let enabled = config.alerts.destinations.iter().filter(|own| own.enabled);
    let tokens = started.http.tokens.iter().map(|own| &own.token);
    vault.keep_only(of_aws(enabled.flat_map(|own| own.secrets()).chain(tokens))).await;
}

fn of_aws<'a>(wanted: impl IntoIterator<Item = &'a SecretRef>) -> Vec<&'a AwsSecret> {
    let of_aws = wanted.into_iter().filter_map(|reference| match reference {
        SecretRef::Aws(secret) => Some(secret),
        SecretRef::Env(_) | SecretRef::File(_) => None,
    });
    of_aws.collect()
}
