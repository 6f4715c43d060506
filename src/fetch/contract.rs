//! What every store must do, as one suite over the port. It runs on the memory and the directory store, and on the S3
//! API in the integration tests, which include this file.

use futures_util::TryStreamExt;

use super::{Access, Body, FetchError, ObjectRef, ObjectStore};

/// A store under test, with one bucket.
pub(crate) trait Subject {
    type Store: ObjectStore;

    fn store(&self) -> &Self::Store;

    /// As whom the objects are read.
    fn access(&self) -> Access {
        Access::default()
    }

    /// Stores an object, and tells it as a notification would: with its ETag.
    async fn put(&self, key: &str, bytes: &[u8]) -> ObjectRef;

    async fn remove(&self, key: &str);
}

/// Every check, each on a store of its own.
pub(crate) async fn check<S: Subject>(fresh: impl AsyncFn() -> S) {
    the_bytes_come_in_order_and_complete_the_reference(&fresh().await).await;
    an_empty_object_is_a_body_without_chunks(&fresh().await).await;
    keys_are_taken_as_they_are(&fresh().await).await;
    a_missing_object_is_missing(&fresh().await).await;
    an_overwritten_object_is_superseded(&fresh().await).await;
    a_range_is_the_part_of_the_object_that_exists(&fresh().await).await;
}

/// All bytes of a body.
pub(crate) async fn read(body: Body) -> Result<Vec<u8>, FetchError> {
    body.chunks
        .try_fold(Vec::new(), async |mut all, chunk| {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await
}

/// A reference that knows nothing but the name.
pub(crate) fn object(bucket: &str, key: &str) -> ObjectRef {
    ObjectRef {
        bucket: bucket.into(),
        key: key.into(),
        version_id: None,
        etag: None,
        size: None,
        region: None,
        sequencer: None,
    }
}

async fn open<S: Subject>(subject: &S, object: &ObjectRef) -> Result<Body, FetchError> {
    subject.store().open(&subject.access(), object).await
}

async fn the_bytes_come_in_order_and_complete_the_reference<S: Subject>(subject: &S) {
    let bytes: Vec<u8> = (0..1_200_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let announced = subject.put("logs/a.json", &bytes).await;
    let unknown = object(&announced.bucket, &announced.key);
    for object in [&announced, &unknown] {
        let body = open(subject, object).await.unwrap();
        assert_eq!(body.object.size, Some(1_200_000));
        assert_eq!(body.object.id(), announced.id());
        assert!(read(body).await.unwrap() == bytes, "other bytes came");
    }
}

async fn an_empty_object_is_a_body_without_chunks<S: Subject>(subject: &S) {
    let announced = subject.put("empty", b"").await;
    let body = open(subject, &announced).await.unwrap();
    assert_eq!(body.object.size, Some(0));
    assert_eq!(read(body).await.unwrap(), b"");
}

async fn keys_are_taken_as_they_are<S: Subject>(subject: &S) {
    for key in ["with space+plus", "100%25/é☃", "a=b&c?d#e", "..a/b..c"] {
        let announced = subject.put(key, key.as_bytes()).await;
        assert_eq!(read(open(subject, &announced).await.unwrap()).await.unwrap(), key.as_bytes());
    }
}

async fn a_missing_object_is_missing<S: Subject>(subject: &S) {
    let announced = subject.put("gone", b"here").await;
    subject.remove("gone").await;
    match open(subject, &announced).await {
        Err(FetchError::Missing(text)) => assert!(text.contains("gone"), "{text}"),
        other => panic!("{:?}", other.map(|body| body.object)),
    }
}

async fn an_overwritten_object_is_superseded<S: Subject>(subject: &S) {
    let announced = subject.put("a", b"first").await;
    let newer = subject.put("a", b"second").await;
    match open(subject, &announced).await {
        Err(FetchError::Superseded(text)) => assert!(text.contains("/a "), "{text}"),
        other => panic!("{:?}", other.map(|body| body.object)),
    }
    assert_eq!(read(open(subject, &newer).await.unwrap()).await.unwrap(), b"second");
}

async fn a_range_is_the_part_of_the_object_that_exists<S: Subject>(subject: &S) {
    let (store, access) = (subject.store(), subject.access());
    let announced = subject.put("a.parquet", b"0123456789").await;
    let whole = object(&announced.bucket, &announced.key);
    for (start, end, expected) in
        [(0, 4, "0123"), (3, 7, "3456"), (6, 10, "6789"), (8, 100, "89"), (10, 20, ""), (50, 60, ""), (4, 4, "")]
    {
        for object in [&announced, &whole] {
            let bytes = store.range(&access, object, start..end).await.unwrap();
            assert_eq!(bytes, expected.as_bytes(), "{start}..{end} of {object:?}");
        }
    }
    let empty = subject.put("empty", b"").await;
    assert_eq!(store.range(&access, &empty, 0..8).await.unwrap(), "");
    subject.put("a.parquet", b"other").await;
    assert!(matches!(store.range(&access, &announced, 0..4).await, Err(FetchError::Superseded(_))));
    subject.remove("a.parquet").await;
    assert!(matches!(store.range(&access, &announced, 0..4).await, Err(FetchError::Missing(_))));
}
