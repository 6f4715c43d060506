//! Listing a bucket, page by page. Every page is asked for by the key that it begins behind, so that a listing can go
//! on in another process.
//!
//! Source: Amazon S3 API reference, "ListObjectsV2": keys come in the order of their UTF-8 bytes, and with
//! `encoding-type=url` as form-encoded text, because XML can't hold every key.

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::list_objects_v2::{ListObjectsV2Error, ListObjectsV2Output};
use aws_sdk_s3::types::{EncodingType, Object, RequestPayer};
use percent_encoding::percent_decode_str;
use time::OffsetDateTime;

use super::S3Store;
use super::request::GetError;
use super::signed::Signed;
use crate::fetch::{FetchError, Listed, Page};
use crate::model::{Access, ObjectRef};

/// What is asked.
struct Listing<'a> {
    access: &'a Access,
    bucket: &'a str,
    prefix: &'a str,
    after: Option<&'a str>,
}

impl S3Store {
    pub(super) async fn page(
        &self,
        access: &Access,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Page, FetchError> {
        let listing = Listing { access, bucket, prefix, after };
        // For the region and for what a failure is about.
        let place = listing.object(prefix.to_owned());
        let request = self.request(access, &place);
        let answer = request.persist(|client, signed| listing.ask(client, signed)).await;
        let answer = answer.map_err(|refused| refusal(refused.into_error(&place), &place))?;
        listing.read(answer.output, &answer.region)
    }
}

impl Listing<'_> {
    async fn ask(&self, client: Client, signed: Signed) -> Result<ListObjectsV2Output, GetError> {
        client
            .list_objects_v2()
            .bucket(self.bucket)
            .prefix(self.prefix)
            .set_start_after(self.after.map(str::to_owned))
            .encoding_type(EncodingType::Url)
            .set_expected_bucket_owner(self.access.account_id.clone())
            .set_request_payer(self.access.requester_pays.then_some(RequestPayer::Requester))
            .customize()
            .interceptor(signed)
            .send()
            .await
            // S3's errors are told apart by their codes, which this keeps.
            .map_err(|error| {
                error.map_service_error(|error: ListObjectsV2Error| GetObjectError::generic(error.meta().clone()))
            })
    }

    fn object(&self, key: String) -> ObjectRef {
        ObjectRef {
            bucket: self.bucket.to_owned(),
            key,
            version_id: None,
            etag: None,
            size: None,
            region: None,
            sequencer: None,
        }
    }

    fn read(&self, answer: ListObjectsV2Output, region: &str) -> Result<Page, FetchError> {
        let encoded = answer.encoding_type == Some(EncodingType::Url);
        let more = answer.is_truncated == Some(true);
        let listed = |object: Object| self.listed(object, encoded, region);
        let objects = answer.contents.unwrap_or_default().into_iter().map(listed).collect::<Result<Vec<_>, _>>()?;
        let ordered = objects.windows(2).all(|pair| pair[0].object.key < pair[1].object.key);
        let behind =
            objects.first().is_none_or(|first| self.after.is_none_or(|after| first.object.key.as_str() > after));
        if !ordered || !behind || (more && objects.is_empty()) {
            return Err(FetchError::Unavailable(format!(
                "listing s3://{}/{}: the store does not list in the order of keys; such a store (an S3 directory bucket \
                 is one) can't be listed in parts",
                self.bucket, self.prefix
            )));
        }
        Ok(Page { objects, more })
    }

    fn listed(&self, object: Object, encoded: bool, region: &str) -> Result<Listed, FetchError> {
        let unusable = |what: &str| {
            FetchError::Unavailable(format!("listing s3://{}/{}: an object has no {what}", self.bucket, self.prefix))
        };
        let key = object.key.ok_or_else(|| unusable("key"))?;
        let key = if encoded { decoded(&key).ok_or_else(|| unusable("key in UTF-8"))? } else { key };
        let modified = object.last_modified.ok_or_else(|| unusable("time"))?;
        let modified = OffsetDateTime::from_unix_timestamp_nanos(modified.as_nanos())
            .map_err(|_| unusable("time that can be represented"))?;
        let object = ObjectRef {
            etag: object.e_tag.map(|etag| etag.trim_matches('"').to_owned()),
            size: object.size.and_then(|size| u64::try_from(size).ok()),
            region: Some(region.to_owned()),
            ..self.object(key)
        };
        Ok(Listed { object, modified })
    }
}

fn decoded(key: &str) -> Option<String> {
    let key = key.replace('+', " ");
    percent_decode_str(&key).decode_utf8().ok().map(Into::into)
}

/// A listing needs another permission than a read.
fn refusal(error: FetchError, place: &ObjectRef) -> FetchError {
    match error {
        FetchError::Forbidden(why, text) => {
            FetchError::Forbidden(why, format!("{text}; listing {place} needs s3:ListBucket on the bucket"))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::primitives::DateTime;

    /// The page that an answer with these keys gives.
    fn page(
        keys: &[&str],
        after: Option<&str>,
        more: bool,
        encoding: Option<EncodingType>,
    ) -> Result<Page, FetchError> {
        let object = |key: &&str| {
            let object = Object::builder().key(*key).size(3).e_tag("\"e\"");
            object.last_modified(DateTime::from_secs(1_767_323_045)).build()
        };
        let contents: Vec<Object> = keys.iter().map(object).collect();
        let answer = ListObjectsV2Output::builder()
            .set_contents(Some(contents))
            .is_truncated(more)
            .set_encoding_type(encoding)
            .build();
        let access = Access::default();
        Listing { access: &access, bucket: "b", prefix: "", after }.read(answer, "eu-west-1")
    }

    #[test]
    fn keys_are_decoded_when_the_answer_says_that_they_are_encoded() {
        let encoded = page(&["a+b%2Bc", "caf%C3%A9"], None, true, Some(EncodingType::Url)).unwrap();
        let keys: Vec<&str> = encoded.objects.iter().map(|listed| &*listed.object.key).collect();
        assert_eq!((keys, encoded.more), (vec!["a b+c", "café"], true));
        let object = &encoded.objects[0].object;
        assert_eq!(
            (object.etag.as_deref(), object.size, object.region.as_deref()),
            (Some("e"), Some(3), Some("eu-west-1"))
        );
        let plain = page(&["a+b%2Bc"], None, false, None).unwrap();
        assert_eq!((&*plain.objects[0].object.key, plain.more), ("a+b%2Bc", false));
        assert!(page(&["%ff"], None, false, Some(EncodingType::Url)).is_err());
    }

    #[test]
    fn a_store_that_does_not_keep_the_order_of_keys_is_refused() {
        assert!(page(&["a", "b"], Some("0"), false, None).is_ok());
        assert!(page(&[], Some("0"), false, None).is_ok());
        for (keys, after, more) in [(&["b", "a"][..], None, false), (&["a"], Some("a"), false), (&[], None, true)] {
            let error = page(keys, after, more, None).unwrap_err().to_string();
            assert!(error.contains("order"), "{error}");
        }
    }
}
