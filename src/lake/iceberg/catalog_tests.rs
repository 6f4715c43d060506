//! The contract of catalogs, and storms, on every real catalog with the real storages: an SQL catalog in PostgreSQL, the API
//! of Glue, a REST server; files in S3 or a folder.

#[path = "../../../tests/it/aws/server.rs"]
mod aws;
#[path = "../../../tests/it/rest/server.rs"]
mod rest;

use std::sync::atomic::{AtomicU32, Ordering};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use iceberg::io::FileIO;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;
use venv as python;

use super::faulty::Faulty;
use super::tests::{Temporary, built_in};
use super::*;
use crate::lake::contract::catalog_contract_tests;
use crate::lake::storm_tests::weather;
use crate::model::Secret;
use crate::runtime::SystemClock;
use crate::state::postgres::tests::{server as postgres, venv};

/// The catalogs of other files weather more of them.
const STORMS: u64 = 2;

fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn settings(prefix: &str) -> Settings {
    Settings { root: PathBuf::new(), prefix: prefix.into(), partition: Granularity::Day }
}

fn keys() -> Credentials {
    Credentials::new("AKIAMARGAYTESTS", "secret", None, None, "tests")
}

async fn endpoint() -> String {
    crate::runtime::blocking(aws::endpoint).await
}

/// A client of the S3 of the tests.
async fn client() -> aws_sdk_s3::Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .endpoint_url(endpoint().await)
        .region(Region::new("us-east-1"))
        .credentials_provider(keys())
        .force_path_style(true);
    aws_sdk_s3::Client::from_conf(config.build())
}

/// A prefix of a new bucket.
async fn bucket() -> Warehouse {
    let (client, name) = (client().await, unique("lake"));
    client.create_bucket().bucket(&name).send().await.unwrap();
    Warehouse::bucket(&format!("s3://{name}/some/prefix/"), client).unwrap()
}

fn catalog(warehouse: Warehouse, pointers: impl Pointers, prefix: &str) -> IcebergCatalog {
    IcebergCatalog::pointed(warehouse, Box::new(pointers), settings(prefix), built_in(), Arc::new(SystemClock))
}

async fn sqlite_with_s3() -> Temporary {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { root: folder.path().into(), ..settings("margay_") };
    let catalog = IcebergCatalog::embedded(bucket().await, settings, built_in(), Arc::new(SystemClock)).await.unwrap();
    Temporary { catalog, _folder: folder }
}

mod sqlite_and_s3 {
    use super::*;

    catalog_contract_tests!(sqlite_with_s3);
}

async fn postgres_pointers() -> PostgresPointers {
    let url = postgres::empty_schema().await;
    let pool = PgPoolOptions::new().max_connections(8).connect(&url).await.unwrap();
    PostgresPointers::open(pool).await.unwrap()
}

async fn in_postgres() -> Temporary {
    let folder = tempfile::tempdir().unwrap();
    let warehouse = Warehouse::folder(folder.path()).await.unwrap();
    Temporary { catalog: catalog(warehouse, postgres_pointers().await, "margay_"), _folder: folder }
}

mod postgresql {
    use super::*;

    catalog_contract_tests!(in_postgres);

    #[tokio::test]
    async fn every_row_is_there_once_after_any_storm() {
        for seed in 0..STORMS {
            weather(Faulty::new(in_postgres().await.catalog), seed).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn daemons_that_commit_at_once_lose_and_double_nothing() {
        const TABLE: &str = "Okta.SystemLog";
        const COMMITS: u8 = 8;
        let (url, folder) = (postgres::empty_schema().await, tempfile::tempdir().unwrap());
        let daemon = async |number: u8| {
            let pool = PgPoolOptions::new().max_connections(2).connect(&url).await.unwrap();
            let pointers = PostgresPointers::open(pool).await.unwrap();
            let catalog = catalog(Warehouse::folder(folder.path()).await.unwrap(), pointers, "margay_");
            let rows = super::super::tests::rows(TABLE, &["{}"]);
            for n in 0..COMMITS {
                let staged = catalog.stage(TABLE, CommitId([number * COMMITS + n; 16]), &rows).await.unwrap();
                let mut outcome = Outcome::Conflict;
                while outcome == Outcome::Conflict {
                    let head = catalog.load(TABLE).await.unwrap();
                    outcome = catalog.commit(&head, &staged).await.unwrap();
                }
            }
            catalog
        };
        let [catalog, ..] = &futures_util::future::join_all((0..4).map(daemon)).await[..] else { panic!("four") };
        let head = catalog.load(TABLE).await.unwrap();
        let wanted = |n| Wanted { commit: CommitId([n; 16]), since: OffsetDateTime::UNIX_EPOCH };
        let wanted: Vec<Wanted> = (0..4 * COMMITS).map(wanted).collect();
        assert_eq!(catalog.find(&head, &wanted).await.unwrap().len(), wanted.len());
        assert_eq!(crate::lake::contract::Readable::row_ids(catalog, TABLE).await.len(), wanted.len());
    }

    #[tokio::test]
    async fn many_daemons_open_an_empty_database_at_once() {
        let url = postgres::empty_schema().await;
        let open = async || {
            let pool = PgPoolOptions::new().max_connections(2).connect(&url).await.unwrap();
            PostgresPointers::open(pool).await.map(drop)
        };
        for opened in futures_util::future::join_all((0..6).map(|_| open())).await {
            opened.unwrap();
        }
    }
}

async fn in_glue() -> Temporary {
    let folder = tempfile::tempdir().unwrap();
    let warehouse = Warehouse::folder(folder.path()).await.unwrap();
    let access = GlueAccess {
        endpoint: Some(endpoint().await),
        region: "us-east-1".into(),
        credentials: SharedCredentialsProvider::new(keys()),
        account: None,
    };
    // All tests share the account.
    let prefix = format!("{}_", unique("lake").replace('-', "_"));
    let pointers = GluePointers::new(access, &prefix, Arc::new(SystemClock)).unwrap();
    Temporary { catalog: catalog(warehouse, pointers, &prefix), _folder: folder }
}

mod aws_glue {
    use super::*;
    use crate::lake::tables::Tables;

    catalog_contract_tests!(in_glue);

    #[tokio::test]
    async fn every_row_is_there_once_after_any_storm() {
        for seed in 0..STORMS {
            weather(Faulty::new(in_glue().await.catalog), seed).await;
        }
    }

    #[tokio::test]
    async fn the_tables_of_the_lake_are_listed_and_no_others() {
        let (one, _other) = (in_glue().await.catalog, in_glue().await.catalog);
        for log_type in ["Okta.SystemLog", "AWS.CloudTrail"] {
            one.ensure(log_type).await.unwrap();
            _other.ensure(log_type).await.unwrap();
        }
        let names: Vec<String> = one.list().await.unwrap().iter().map(|id| id.name.clone()).collect();
        assert_eq!(names, ["aws_cloudtrail", "okta_systemlog"]);
    }
}

/// A catalog with its server and its folder.
struct Served {
    catalog: IcebergCatalog,
    server: rest::Server,
    _folder: TempDir,
}

async fn serve(proof: RestProof) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let server = crate::runtime::blocking(move || rest::Server::start(&path, "{}")).await;
    let access = RestAccess { uri: server.uri.clone(), warehouse: Some("lake".into()), proof };
    let heads = RestHeads::new(access, "margay_", Arc::new(SystemClock)).unwrap();
    let warehouse = Warehouse::folder(folder.path()).await.unwrap();
    let catalog =
        IcebergCatalog::new(warehouse, Box::new(heads), settings("margay_"), built_in(), Arc::new(SystemClock));
    Served { catalog, server, _folder: folder }
}

fn token() -> RestProof {
    RestProof::Token(Secret::new(rest::TOKEN))
}

#[async_trait]
impl Catalog for Served {
    type Head = Head;
    type Staged = Change;

    async fn load(&self, table: &str) -> Result<Head, CatalogError> {
        self.catalog.load(table).await
    }

    async fn find(&self, head: &Head, wanted: &[Wanted]) -> Result<Vec<CommitId>, CatalogError> {
        self.catalog.find(head, wanted).await
    }

    async fn stage(&self, table: &str, commit: CommitId, rows: &Rows) -> Result<Change, CatalogError> {
        self.catalog.stage(table, commit, rows).await
    }

    async fn commit(&self, head: &Head, staged: &Change) -> Result<Outcome, CatalogError> {
        self.catalog.commit(head, staged).await
    }
}

#[async_trait]
impl crate::lake::contract::Readable for Served {
    async fn row_ids(&self, table: &str) -> Vec<crate::model::RowId> {
        self.catalog.row_ids(table).await
    }
}

mod rest_server {
    use super::*;
    use crate::lake::contract::Readable;
    use crate::lake::tables::Tables;

    async fn served() -> Served {
        serve(token()).await
    }

    catalog_contract_tests!(served);

    #[tokio::test]
    async fn every_row_is_there_once_after_any_storm() {
        for seed in 0..STORMS {
            let Served { catalog, server, _folder } = served().await;
            weather(Faulty::new(catalog), seed).await;
            drop(server);
        }
    }

    #[tokio::test]
    async fn a_token_is_granted_to_a_client_and_a_wrong_one_is_told() {
        let credential = Secret::new(rest::CREDENTIAL);
        let served = serve(RestProof::Client { credential, uri: None, scope: "catalog".into() }).await;
        served.catalog.ensure("Okta.SystemLog").await.unwrap();
        assert_eq!(served.catalog.list().await.unwrap().len(), 1);
        let wrong = serve(RestProof::Token(Secret::new("wrong"))).await;
        let Err(error) = wrong.catalog.ensure("Okta.SystemLog").await else { panic!("nobody knows this token") };
        assert!(error.to_string().contains("401"), "{error}");
        let credential = Secret::new("client:wrong");
        let wrong = serve(RestProof::Client { credential, uri: None, scope: "catalog".into() }).await;
        let Err(error) = wrong.catalog.ensure("Okta.SystemLog").await else { panic!("nobody knows this client") };
        assert!(error.to_string().contains("no token from") && !error.to_string().contains("wrong"), "{error}");
    }

    /// Lets the next commit fail so.
    async fn fail(served: &Served, apply: bool, status: u16) {
        let question = web::Question {
            method: hyper::Method::POST,
            url: format!("{}/faults", served.server.uri),
            headers: Vec::new(),
            body: serde_json::json!([{ "apply": apply, "status": status }]).to_string().into(),
        };
        let answer = web::Web::new().unwrap().ask(&question, &web::Proof::None).await.unwrap();
        assert!(answer.status.is_success());
    }

    #[tokio::test]
    async fn an_answer_that_is_lost_is_unknown_and_one_that_was_asked_for_twice_is_a_success() {
        const TABLE: &str = "Okta.SystemLog";
        let served = served().await;
        let rows = super::super::tests::rows(TABLE, &["{}"]);
        for (n, apply, status) in [(1, true, 504), (2, false, 503), (3, true, 409), (4, false, 409)] {
            let id = CommitId([n; 16]);
            let staged = served.stage(TABLE, id, &rows).await.unwrap();
            let head = served.load(TABLE).await.unwrap();
            fail(&served, apply, status).await;
            let outcome = served.commit(&head, &staged).await;
            match (apply, status) {
                (_, 503 | 504) => assert!(outcome.unwrap_err().to_string().contains(&status.to_string())),
                (true, _) => assert_eq!(outcome.unwrap(), Outcome::Committed),
                (false, _) => assert_eq!(outcome.unwrap(), Outcome::Conflict),
            }
            let head = served.load(TABLE).await.unwrap();
            let wanted = Wanted { commit: id, since: OffsetDateTime::UNIX_EPOCH };
            assert_eq!(served.find(&head, &[wanted]).await.unwrap(), if apply { vec![id] } else { vec![] });
        }
        assert_eq!(served.row_ids(TABLE).await.len(), 2);
    }
}

/// The bytes of a file in S3, however it was sent.
async fn round_trip(io: &FileIO, path: &str, size: usize) {
    let bytes: Vec<u8> = (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut writer = io.new_output(path).unwrap().writer().await.unwrap();
    let (first, second) = bytes.split_at(size / 3);
    writer.write(first.to_vec().into()).await.unwrap();
    writer.write(second.to_vec().into()).await.unwrap();
    assert!(!io.exists(path).await.unwrap(), "it is there whole or not at all");
    writer.close().await.unwrap();
    let input = io.new_input(path).unwrap();
    assert_eq!(input.metadata().await.unwrap().size, size as u64);
    assert!(input.read().await.unwrap() == bytes);
    let part = size / 2..size / 2 + size.min(7);
    let read = input.reader().await.unwrap().read(part.start as u64..part.end as u64).await.unwrap();
    assert!(read == bytes[part]);
}

#[tokio::test]
async fn files_of_any_size_come_back_from_s3() {
    let warehouse = bucket().await;
    let io = warehouse.io();
    for (number, size) in [0, 1, 1000, 8 * 1024 * 1024, 8 * 1024 * 1024 + 1, 20_000_000].into_iter().enumerate() {
        round_trip(io, &format!("{}/data/a=b c%2F/{number}.parquet", warehouse.root()), size).await;
    }
    let far = time::macros::datetime!(2999-01-01 0:00 UTC);
    let all = warehouse.older(&format!("{}/data", warehouse.root()), far).await.unwrap();
    assert_eq!(all.len(), 6);
    assert!(warehouse.older(warehouse.root(), OffsetDateTime::UNIX_EPOCH).await.unwrap().is_empty());
    io.delete(&all[0]).await.unwrap();
    io.delete(&all[0]).await.unwrap();
    assert!(!io.exists(&all[0]).await.unwrap());
    let missing = io.new_input(&all[0]).unwrap().read().await.unwrap_err().to_string();
    assert!(missing.contains(&all[0]) && missing.contains("NoSuchKey"), "{missing}");
    let damaged = warehouse.remote().unwrap().read(&all[2], 990..2000).await.unwrap_err().to_string();
    assert!(damaged.contains("damaged"), "{damaged}");
}
