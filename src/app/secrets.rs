//! Secrets of the configuration, wherever they lie, and the tokens of the API among them.

use std::path::Path;

use crate::aws::vault::Vault;
use crate::config::{Config, Secrets};
use crate::http::{self, Api};
use crate::model::SecretRef;

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
    let of_aws = wanted.into_iter().filter_map(|reference| match reference {
        SecretRef::Aws(secret) => Some(secret),
        SecretRef::Env(_) | SecretRef::File(_) => None,
    });
    let of_aws: Vec<_> = of_aws.collect();
    Secrets::beside(path).with(vault.read(of_aws).await)
}
