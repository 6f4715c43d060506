//! How to connect: from the URL, and a password that need not stand in it. Nothing here ends in a log but [`place`].

use std::str::FromStr;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::state::{PostgresConfig, StateError};

pub(super) async fn connect_options(config: &PostgresConfig) -> Result<PgConnectOptions, StateError> {
    let Some(url) = &config.url else {
        return Err(StateError::Store("`state.postgres.url` is missing".into()));
    };
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| StateError::Store(format!("`state.postgres.url` cannot be used: {error}")))?;
    let options = options.application_name("margay").disable_statement_logging();
    let options =
        if says_how_to_encrypt(url) || is_local(&options) { options } else { options.ssl_mode(PgSslMode::VerifyFull) };
    Ok(match password(config).await? {
        Some(password) => options.password(&password),
        None => options,
    })
}

async fn password(config: &PostgresConfig) -> Result<Option<String>, StateError> {
    let Some(path) = &config.password_file else { return Ok(None) };
    let text = tokio::fs::read_to_string(path).await.map_err(|error| {
        StateError::Store(format!("could not read `state.postgres.password_file` {}: {error}", path.display()))
    })?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// What is wrong with a URL, without repeating it.
pub fn check_url(url: &str) -> Result<(), String> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err("must be like `postgres://USER@HOST:5432/DATABASE`".into());
    }
    if query(url).any(|(name, _)| name == "password") {
        return Err("must not have `password` behind its `?`; use `state.postgres.password_file`".into());
    }
    PgConnectOptions::from_str(url).map(drop).map_err(|error| format!("can't be used: {error}"))
}

fn query(url: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query.split('&').filter_map(|part| part.split_once('='))
}

fn says_how_to_encrypt(url: &str) -> bool {
    query(url).any(|(name, _)| matches!(name, "sslmode" | "ssl-mode"))
}

/// What does not leave the machine need not be encrypted.
fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The server and database, for people.
pub(super) fn place(options: &PgConnectOptions) -> String {
    let host = options.get_socket().map_or_else(|| options.get_host().into(), |path| path.to_string_lossy());
    let user = options.get_username();
    let database = options.get_database().unwrap_or(user);
    format!("the PostgreSQL database `{database}` on {host}:{} as `{user}`", options.get_port())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn options(url: &str) -> PgConnectOptions {
        connect_options(&PostgresConfig { url: Some(url.into()), ..PostgresConfig::default() }).await.unwrap()
    }

    #[tokio::test]
    async fn what_leaves_the_machine_is_encrypted_and_verified_unless_the_url_says_otherwise() {
        for (url, mode) in [
            ("postgres://u@db.example/m", "VerifyFull"),
            ("postgres://u@10.0.0.1/m?application_name=x", "VerifyFull"),
            ("postgres://u@db.example/m?sslmode=require", "Require"),
            ("postgres://u@db.example/m?sslmode=disable", "Disable"),
            ("postgres://u@localhost/m?sslmode=verify-ca", "VerifyCa"),
        ] {
            assert_eq!(format!("{:?}", options(url).await.get_ssl_mode()), mode, "{url}");
        }
        for url in
            ["postgres://u@127.0.0.1/m", "postgres://u@localhost/m", "postgres://u@[::1]/m", "postgres:///m?host=/run"]
        {
            assert_ne!(format!("{:?}", options(url).await.get_ssl_mode()), "VerifyFull", "{url}");
        }
    }

    #[tokio::test]
    async fn a_password_comes_from_a_file_and_stands_in_no_message() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "hunter2 \n").unwrap();
        let config = PostgresConfig {
            url: Some("postgres://u:other@127.0.0.1:1/m".into()),
            password_file: Some(file),
            ..PostgresConfig::default()
        };
        assert_eq!(password(&config).await.unwrap().as_deref(), Some("hunter2 "));
        let Err(error) = super::super::PostgresStore::open(&config).await else { panic!("nothing listens there") };
        let said = error.to_string();
        assert!(said.contains("`m` on 127.0.0.1:1 as `u`") && said.contains("state.postgres.url"), "{said}");
        assert!(!said.contains("hunter2") && !said.contains("other"), "{said}");

        let gone = PostgresConfig { password_file: Some(folder.path().join("gone")), ..config };
        let said = password(&gone).await.unwrap_err().to_string();
        assert!(said.contains("state.postgres.password_file") && said.contains("gone"), "{said}");
    }

    #[test]
    fn a_url_is_refused_without_being_repeated() {
        assert_eq!(check_url("postgres://u:hunter2@h:5432/m?sslmode=verify-full"), Ok(()));
        for url in ["mysql://u:hunter2@h/m", "postgres://u:hunter2@h:port/m", "postgres://u@h/m?password=hunter2"] {
            let said = check_url(url).unwrap_err();
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
