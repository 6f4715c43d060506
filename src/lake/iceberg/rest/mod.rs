//! A REST catalog: the server keeps the metadata, and is told of changes with the conditions under which they may come in.
//!
//! The condition of a commit is the snapshot that was the table's head, by which a server refuses it when other rows came
//! first. Data files are written with margay's own access to the warehouse: credentials that servers hand out are not used.

mod grant;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use aws_credential_types::provider::SharedCredentialsProvider;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use iceberg::TableUpdate;
use iceberg::spec::{MAIN_BRANCH, Snapshot, TableMetadata, TableMetadataBuildResult};
use iceberg::table::Table;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::failed;
use super::heads::{Heads, Location};
use super::web::{Answer, Proof, Question, Signer, Web};
use crate::lake::catalog::CatalogError;
use crate::lake::names::TableId;
use crate::model::Secret;
use crate::runtime::SharedClock;
use grant::Grant;

/// What of a name can stand in a path.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Where a catalog is, and as whom it is asked.
pub struct RestAccess {
    /// Before `/v1`.
    pub uri: String,
    /// The server's name for the warehouse, where it has several.
    pub warehouse: Option<String>,
    pub proof: RestProof,
}

pub enum RestProof {
    None,
    Token(Secret),
    /// Exchanged for tokens at `uri`, else at the catalog itself.
    Client {
        /// `ID:SECRET`, or the secret alone.
        credential: Secret,
        uri: Option<String>,
        scope: String,
    },
    /// As AWS wants it of requests to `service`: `glue` or `s3tables`.
    Signed {
        credentials: SharedCredentialsProvider,
        region: String,
        service: &'static str,
    },
}

enum Identity {
    Fixed(Proof),
    Granted(Grant),
}

pub struct RestHeads {
    web: Web,
    identity: Identity,
    uri: String,
    warehouse: Option<String>,
    /// What the namespaces of the lake begin with.
    prefix: String,
    /// The path under which the server has its namespaces, which it tells once.
    base: OnceCell<String>,
}

impl RestHeads {
    pub fn new(access: RestAccess, prefix: &str, clock: SharedClock) -> Result<RestHeads, CatalogError> {
        let web = Web::new().map_err(CatalogError)?;
        let uri = access.uri.trim_end_matches('/').to_owned();
        let identity = match access.proof {
            RestProof::None => Identity::Fixed(Proof::None),
            RestProof::Token(token) => Identity::Fixed(grant::bearer(token.expose()).map_err(CatalogError)?),
            RestProof::Client { credential, uri: at, scope } => {
                let at = at.unwrap_or_else(|| format!("{uri}/v1/oauth/tokens"));
                Identity::Granted(Grant::new(at, credential, scope, clock))
            }
            RestProof::Signed { credentials, region, service } => {
                Identity::Fixed(Proof::Signed(Signer::new(credentials, region, service, clock)))
            }
        };
        let (prefix, base) = (prefix.to_owned(), OnceCell::new());
        Ok(RestHeads { web, identity, uri, warehouse: access.warehouse, prefix, base })
    }

    /// One request. `again`: it may be asked twice.
    async fn call(&self, method: Method, path: &str, body: Option<Value>, again: bool) -> Result<Answer, String> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let question = Question { method, url: format!("{}{path}", self.uri), headers, body: body.into() };
        let answer = self.ask(&question, again, false).await?;
        // A token may end before its time; what was refused for it has changed nothing.
        if answer.status == StatusCode::UNAUTHORIZED && matches!(self.identity, Identity::Granted(_)) {
            return self.ask(&question, again, true).await;
        }
        Ok(answer)
    }

    async fn ask(&self, question: &Question, again: bool, refused: bool) -> Result<Answer, String> {
        let granted;
        let proof = match &self.identity {
            Identity::Fixed(proof) => proof,
            Identity::Granted(grant) => {
                granted = grant.proof(&self.web, refused).await?;
                &granted
            }
        };
        match again {
            true => self.web.ask_again(question, proof).await,
            false => self.web.ask(question, proof).await,
        }
    }

    async fn base(&self) -> Result<&str, String> {
        let base = self.base.get_or_try_init(|| async {
            let query = self.warehouse.as_deref().map(|name| format!("?warehouse={}", encoded(name)));
            let path = format!("/v1/config{}", query.unwrap_or_default());
            let config = told(self.call(Method::GET, &path, None, true).await?)?;
            let of = |level: &str| config[level]["prefix"].as_str().filter(|prefix| !prefix.is_empty());
            let prefix = of("overrides").or_else(|| of("defaults"));
            Ok::<_, String>(prefix.map_or_else(|| "/v1".to_owned(), |prefix| format!("/v1/{prefix}")))
        });
        base.await.map(String::as_str)
    }

    async fn tables_of(&self, namespace: &str) -> Result<String, String> {
        Ok(format!("{}/namespaces/{}/tables", self.base().await?, encoded(namespace)))
    }

    async fn path_of(&self, table: &TableId) -> Result<String, String> {
        Ok(format!("{}/{}", self.tables_of(&table.namespace).await?, encoded(&table.name)))
    }

    /// All that a path lists under a name, page by page.
    async fn pages(&self, path: &str, list: &str) -> Result<Vec<Value>, String> {
        let (mut all, mut token) = (Vec::new(), None::<String>);
        loop {
            let query = token.as_deref().map(|token| format!("?pageToken={}", encoded(token)));
            let path = format!("{path}{}", query.unwrap_or_default());
            let mut page = told(self.call(Method::GET, &path, None, true).await?)?;
            if let Value::Array(items) = page[list].take() {
                all.extend(items);
            }
            match page["next-page-token"].take() {
                Value::String(next) if !next.is_empty() => token = Some(next),
                _ => return Ok(all),
            }
        }
    }

    async fn list(&self) -> Result<Vec<TableId>, String> {
        let namespaces = self.pages(&format!("{}/namespaces", self.base().await?), "namespaces").await?;
        let mut all = Vec::new();
        for namespace in &namespaces {
            let [name] = namespace.as_array().map(Vec::as_slice).unwrap_or_default() else { continue };
            let Some(namespace) = name.as_str().filter(|name| name.starts_with(&self.prefix)) else { continue };
            let tables = self.pages(&self.tables_of(namespace).await?, "identifiers").await?;
            let names = tables.iter().filter_map(|table| table["name"].as_str());
            all.extend(names.map(|name| TableId { namespace: namespace.to_owned(), name: name.to_owned() }));
        }
        all.sort();
        Ok(all)
    }

    async fn load(&self, table: &TableId) -> Result<Option<Location>, String> {
        let path = format!("{}?snapshots=all", self.path_of(table).await?);
        let answer = self.call(Method::GET, &path, None, true).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        location(told(answer)?).map(Some)
    }

    /// Makes what may be there already.
    async fn make(&self, path: &str, body: Value) -> Result<(), String> {
        let answer = self.call(Method::POST, path, Some(body), true).await?;
        if answer.status == StatusCode::CONFLICT { Ok(()) } else { told(answer).map(drop) }
    }

    async fn make_table(&self, table: &TableId, metadata: &TableMetadata) -> Result<(), String> {
        let namespaces = format!("{}/namespaces", self.base().await?);
        self.make(&namespaces, json!({ "namespace": [table.namespace], "properties": {} })).await?;
        let value = |value: serde_json::Result<Value>| value.map_err(|error| error.to_string());
        let mut properties = metadata.properties().clone();
        properties.insert("format-version".to_owned(), "2".to_owned());
        let body = json!({
            "name": table.name,
            "location": metadata.location(),
            "schema": value(serde_json::to_value(metadata.current_schema()))?,
            "partition-spec": value(serde_json::to_value(metadata.default_partition_spec()))?,
            "properties": properties,
            "stage-create": false,
        });
        self.make(&self.tables_of(&table.namespace).await?, body).await
    }

    async fn change(
        &self,
        table: &TableId,
        head: &TableMetadata,
        changes: &[TableUpdate],
    ) -> Result<Option<Location>, String> {
        let path = self.path_of(table).await?;
        let updates = serde_json::to_value(changes).map_err(|error| error.to_string())?;
        let body = json!({
            "identifier": { "namespace": [table.namespace], "name": table.name },
            "requirements": requirements(head, changes),
            "updates": updates,
        });
        let answer = self.call(Method::POST, &path, Some(body), false).await?;
        if answer.status != StatusCode::CONFLICT {
            return location(told(answer)?).map(Some);
        }
        // A server or proxy that asked twice for us would be refused for its own success. The manifest list is of this very
        // attempt, while its snapshot may have been tried before.
        let now = self.load(table).await?;
        let own = changes.iter().find_map(|change| match change {
            TableUpdate::AddSnapshot { snapshot } => Some(snapshot),
            _ => None,
        });
        let is_there = |metadata: &TableMetadata, own: &Snapshot| {
            let there = metadata.snapshot_by_id(own.snapshot_id());
            there.is_some_and(|there| there.manifest_list() == own.manifest_list())
        };
        Ok(now.filter(|now| now.metadata.as_ref().zip(own).is_some_and(|(now, own)| is_there(now, own))))
    }
}

/// That the table is the same one with the same rows; and the same columns, where these change.
fn requirements(head: &TableMetadata, changes: &[TableUpdate]) -> Value {
    let snapshot = head.current_snapshot_id();
    let mut requirements = vec![
        json!({ "type": "assert-table-uuid", "uuid": head.uuid() }),
        json!({ "type": "assert-ref-snapshot-id", "ref": MAIN_BRANCH, "snapshot-id": snapshot }),
    ];
    if changes.iter().any(|change| matches!(change, TableUpdate::AddSchema { .. })) {
        let (schema, column) = (head.current_schema_id(), head.last_column_id());
        requirements.push(json!({ "type": "assert-current-schema-id", "current-schema-id": schema }));
        requirements.push(json!({ "type": "assert-last-assigned-field-id", "last-assigned-field-id": column }));
    }
    Value::Array(requirements)
}

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, ENCODED).to_string()
}

/// The body of an answer that is no refusal.
fn told(answer: Answer) -> Result<Value, String> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status.is_success() {
        return Ok(body);
    }
    let text = body["error"]["message"].as_str().unwrap_or_default();
    Err(format!("the catalog answered {}: {text}", answer.status))
}

fn location(mut loaded: Value) -> Result<Location, String> {
    let metadata = serde_json::from_value(loaded["metadata"].take());
    let metadata = metadata.map_err(|error| format!("the catalog's metadata can't be read: {error}"))?;
    match loaded["metadata-location"].take() {
        Value::String(file) => Ok(Location { file, metadata: Some(metadata) }),
        _ => Err("the catalog does not say where the metadata of the table is".into()),
    }
}

#[async_trait]
impl Heads for RestHeads {
    async fn get(&self, table: &TableId) -> Result<Option<Location>, CatalogError> {
        let loaded = self.load(table).await;
        loaded.map_err(|error| failed(&format!("look up table {table} in the REST catalog"), &error))
    }

    async fn all(&self) -> Result<Vec<TableId>, CatalogError> {
        self.list().await.map_err(|error| failed("list the tables of the REST catalog", &error))
    }

    fn are_all(&self) -> bool {
        false
    }

    async fn create(&self, table: &TableId, metadata: TableMetadata) -> Result<(), CatalogError> {
        let made = self.make_table(table, &metadata).await;
        made.map_err(|error| failed(&format!("create table {table} in the REST catalog"), &error))
    }

    async fn swap(
        &self,
        table: &TableId,
        head: &Table,
        next: TableMetadataBuildResult,
    ) -> Result<Option<Location>, CatalogError> {
        let changed = self.change(table, head.metadata(), &next.changes).await;
        changed.map_err(|error| failed(&format!("commit to table {table} in the REST catalog"), &error))
    }
}
