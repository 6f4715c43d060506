//! The store as one daemon sees it, and the transfers out of it.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::life::Life;
use super::world::Fault;
use crate::fetch::{Body, FetchError, ObjectStore, Page, Refusal};
use crate::model::{Access, ObjectRef};

pub(super) struct StoreView(pub(super) Arc<Life>);

#[async_trait]
impl ObjectStore for StoreView {
    async fn open(&self, access: &Access, object: &ObjectRef) -> Result<Body, FetchError> {
        let (life, world) = (&self.0, &self.0.world);
        life.step("open").await;
        let fault = [
            (Fault::StoreRefuses, FetchError::Unavailable as fn(String) -> FetchError),
            (Fault::StoreMisses, FetchError::Missing),
            (Fault::StoreThrottles, FetchError::Throttled),
            (Fault::StoreForbids, |reason| FetchError::Forbidden(Refusal::AccessDenied, reason)),
        ]
        .into_iter()
        .find(|(fault, _)| world.happens(*fault));
        if let Some((fault, error)) = fault {
            life.note(format!("open {object}: {fault:?}"));
            return Err(error(format!("{object}: {fault:?}")));
        }
        let body = world.store.open(access, object).await;
        life.note(format!("open {object}: {:?}", body.as_ref().err()));
        let Body { object, chunks } = body?;
        let mut chunks: Vec<Bytes> = chunks.try_collect().await?;
        let mut broken = None;
        let is_compressed = chunks.first().is_some_and(|first| first.starts_with(b"\x1f\x8b"));
        if world.happens(Fault::Reset) {
            let kept = cut(&mut chunks, 0, &mut world.dice());
            life.note(format!("the transfer of {object} breaks after {kept} bytes"));
            broken = Some(Err(FetchError::Unavailable(format!("reading {object} broke at byte {kept}"))));
        } else if is_compressed && world.happens(Fault::Damage) {
            // With its header: without, nothing but the store's own length could tell.
            let kept = cut(&mut chunks, 10, &mut world.dice());
            life.note(format!("the transfer of {object} looks whole after {kept} bytes"));
        }
        let transfer = life.clone();
        let chunks = stream::iter(chunks.into_iter().map(Ok).chain(broken)).then(move |chunk| {
            let life = transfer.clone();
            async move {
                life.step("transfer").await;
                chunk
            }
        });
        Ok(Body { object, chunks: chunks.boxed() })
    }

    async fn range(&self, access: &Access, object: &ObjectRef, range: Range<u64>) -> Result<Bytes, FetchError> {
        self.0.step("range").await;
        self.0.world.store.range(access, object, range).await
    }

    fn most_held(&self, object: &ObjectRef) -> u64 {
        self.0.world.store.most_held(object)
    }

    async fn list(&self, access: &Access, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Page, FetchError> {
        self.0.step("list").await;
        self.0.world.store.list(access, bucket, prefix, after).await
    }
}

/// Leaves fewer bytes than there were, but not fewer than `least`, and says how many.
fn cut(chunks: &mut Vec<Bytes>, least: usize, dice: &mut fastrand::Rng) -> usize {
    let all = chunks.concat();
    let kept = if all.len() > least { dice.usize(least..all.len()) } else { all.len() };
    *chunks = all[..kept].chunks(512).map(Bytes::copy_from_slice).collect();
    kept
}
