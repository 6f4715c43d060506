//! AWS Glue as a catalog: each table is one of Glue's whose parameters point to the metadata, as Athena, Trino, Spark and
//! pyiceberg keep it.
//!
//! Glue gives each state of a table a version, and an update that names one is refused when the table has another by
//! then. A pointer is looked up with its version, and moved on that.

mod columns;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use aws_credential_types::provider::SharedCredentialsProvider;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use iceberg::spec::TableMetadata;
use serde_json::{Map, Value, json};

use super::Pointers;
use crate::lake::catalog::CatalogError;
use crate::lake::iceberg::failed;
use crate::lake::iceberg::web::{Proof, Question, Signer, Web};
use crate::lake::names::TableId;
use crate::runtime::SharedClock;

const LOCATION: &str = "metadata_location";
const PREVIOUS: &str = "previous_metadata_location";
const KIND: &str = "table_type";
const ICEBERG: &str = "ICEBERG";

/// What of a table goes into its update; the rest Glue makes itself.
const INPUT: [&str; 12] = [
    "Name",
    "Description",
    "Owner",
    "LastAccessTime",
    "Retention",
    "StorageDescriptor",
    "PartitionKeys",
    "ViewOriginalText",
    "ViewExpandedText",
    "TableType",
    "Parameters",
    "TargetTable",
];

/// Where Glue is, and as whom it is asked.
pub struct GlueAccess {
    /// `None`: that of the region.
    pub endpoint: Option<String>,
    pub region: String,
    pub credentials: SharedCredentialsProvider,
    /// The account whose catalog it is, where it is not the own one.
    pub account: Option<String>,
}

pub struct GluePointers {
    web: Web,
    proof: Proof,
    endpoint: String,
    account: Option<String>,
    /// What the databases of the lake begin with; an account may have thousands of others.
    prefix: String,
    /// Commits of this process to one table follow each other: the later ones would be refused.
    turns: Mutex<HashMap<TableId, Arc<tokio::sync::Mutex<()>>>>,
}

/// An error that Glue names.
struct Refusal {
    kind: String,
    text: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind.is_empty() {
            true => f.write_str(&self.text),
            false => write!(f, "{}: {}", self.kind, self.text),
        }
    }
}

impl GluePointers {
    pub fn new(access: GlueAccess, prefix: &str, clock: SharedClock) -> Result<GluePointers, CatalogError> {
        let web = Web::new().map_err(CatalogError)?;
        let standard = || {
            let domain = if access.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            format!("https://glue.{}.{domain}", access.region)
        };
        let endpoint = access.endpoint.clone().unwrap_or_else(standard);
        Ok(GluePointers {
            web,
            endpoint: format!("{}/", endpoint.trim_end_matches('/')),
            proof: Proof::Signed(Signer::new(access.credentials, access.region, "glue", clock)),
            account: access.account,
            prefix: prefix.to_owned(),
            turns: Mutex::default(),
        })
    }

    /// One call. `again`: it may be asked twice.
    async fn call(&self, operation: &str, mut input: Value, again: bool) -> Result<Value, Refusal> {
        if let Some(account) = &self.account {
            input["CatalogId"] = json!(account);
        }
        let target = HeaderValue::from_str(&format!("AWSGlue.{operation}")).expect("operations have letters");
        let question = Question {
            method: Method::POST,
            url: self.endpoint.clone(),
            headers: vec![
                (CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1")),
                (HeaderName::from_static("x-amz-target"), target),
            ],
            body: input.to_string().into(),
        };
        let answer = match again {
            true => self.web.ask_again(&question, &self.proof).await,
            false => self.web.ask(&question, &self.proof).await,
        };
        let unnamed = |text: String| Refusal { kind: String::new(), text };
        let answer = answer.map_err(unnamed)?;
        let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
        if answer.status.is_success() {
            return body.ok_or_else(|| unnamed("the answer of Glue is not JSON".into()));
        }
        let said = |key: &str| body.as_ref().and_then(|body| body[key].as_str()).unwrap_or_default();
        // With or without a namespace before it.
        let kind = said("__type").rsplit('#').next().unwrap_or_default().to_owned();
        let text = [said("Message"), said("message")].concat();
        if kind.is_empty() && text.is_empty() {
            return Err(unnamed(format!("Glue answered {}", answer.status)));
        }
        Err(Refusal { kind, text })
    }

    /// Glue's table; `None` where there is none.
    async fn table(&self, table: &TableId) -> Result<Option<Value>, CatalogError> {
        let input = json!({ "DatabaseName": table.namespace, "Name": table.name });
        match self.call("GetTable", input, true).await {
            Ok(mut answer) => Ok(Some(answer["Table"].take())),
            Err(refusal) if refusal.kind == "EntityNotFoundException" => Ok(None),
            Err(refusal) => Err(failed(&format!("look up table {table} in Glue"), &refusal)),
        }
    }

    /// All that a call lists, page by page.
    async fn pages(&self, operation: &str, list: &str, mut input: Value) -> Result<Vec<Value>, CatalogError> {
        let mut all = Vec::new();
        loop {
            let mut page = self.call(operation, input.clone(), true).await;
            let page = page.as_mut().map_err(|refusal| failed("list the tables in Glue", refusal))?;
            if let Value::Array(items) = page[list].take() {
                all.extend(items);
            }
            match page["NextToken"].take() {
                Value::String(token) if !token.is_empty() => input["NextToken"] = Value::String(token),
                _ => return Ok(all),
            }
        }
    }

    fn turn(&self, table: &TableId) -> Arc<tokio::sync::Mutex<()>> {
        self.turns.lock().expect("no holder of this lock panics").entry(table.clone()).or_default().clone()
    }
}

#[async_trait]
impl Pointers for GluePointers {
    async fn get(&self, table: &TableId) -> Result<Option<String>, CatalogError> {
        match self.table(table).await? {
            Some(found) => location(table, &found).map(Some),
            None => Ok(None),
        }
    }

    async fn all(&self) -> Result<Vec<TableId>, CatalogError> {
        let mut all = Vec::new();
        for database in self.pages("GetDatabases", "DatabaseList", json!({})).await? {
            let Some(namespace) = database["Name"].as_str().filter(|name| name.starts_with(&self.prefix)) else {
                continue;
            };
            let tables = self.pages("GetTables", "TableList", json!({ "DatabaseName": namespace })).await?;
            let iceberg = tables.iter().filter(|table| is_iceberg(table)).filter_map(|table| table["Name"].as_str());
            all.extend(iceberg.map(|name| TableId { namespace: namespace.to_owned(), name: name.to_owned() }));
        }
        all.sort();
        Ok(all)
    }

    async fn create(&self, table: &TableId, location: &str, metadata: &TableMetadata) -> Result<(), CatalogError> {
        let there = |refusal: &Refusal| refusal.kind == "AlreadyExistsException";
        let database = json!({ "DatabaseInput": { "Name": table.namespace, "Description": "Tables of margay" } });
        match self.call("CreateDatabase", database, true).await {
            Err(refusal) if !there(&refusal) => {
                return Err(failed(&format!("create database {} in Glue", table.namespace), &refusal));
            }
            _ => {}
        }
        let input = json!({
            "DatabaseName": table.namespace,
            "TableInput": {
                "Name": table.name,
                "TableType": "EXTERNAL_TABLE",
                "Parameters": { "EXTERNAL": "TRUE", KIND: ICEBERG, LOCATION: location },
                "StorageDescriptor": columns::descriptor(metadata),
            },
        });
        match self.call("CreateTable", input, true).await {
            Err(refusal) if !there(&refusal) => Err(failed(&format!("create table {table} in Glue"), &refusal)),
            _ => Ok(()),
        }
    }

    async fn swap(&self, table: &TableId, from: &str, to: &str, next: &TableMetadata) -> Result<bool, CatalogError> {
        let turn = self.turn(table);
        let _turn = turn.lock().await;
        let found = self.table(table).await?;
        let found = found.ok_or_else(|| CatalogError(format!("table {table} is gone from Glue")))?;
        if location(table, &found)? != from {
            return Ok(false);
        }
        let mut input = Map::new();
        for key in INPUT {
            if let Some(value) = found.get(key).filter(|value| !value.is_null()) {
                input.insert(key.to_owned(), value.clone());
            }
        }
        input["Parameters"][LOCATION] = json!(to);
        input["Parameters"][PREVIOUS] = json!(from);
        input.insert("StorageDescriptor".to_owned(), columns::descriptor(next));
        let update = json!({
            "DatabaseName": table.namespace,
            "TableInput": input,
            "SkipArchive": true,
            "VersionId": found["VersionId"],
        });
        // Asked once: a second time it would meet the version that it made itself.
        match self.call("UpdateTable", update, false).await {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.kind == "ConcurrentModificationException" => Ok(false),
            Err(refusal) => Err(failed(&format!("commit to table {table} in Glue"), &refusal)),
        }
    }
}

fn is_iceberg(table: &Value) -> bool {
    table["Parameters"][KIND].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case(ICEBERG))
}

fn location(table: &TableId, found: &Value) -> Result<String, CatalogError> {
    let location = found["Parameters"][LOCATION].as_str().filter(|_| is_iceberg(found));
    let location = location.ok_or_else(|| {
        CatalogError(format!("table {table} in Glue is no Iceberg table; choose another `lake.namespace_prefix`"))
    })?;
    Ok(location.to_owned())
}
