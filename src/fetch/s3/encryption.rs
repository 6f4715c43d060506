//! By which key an object is encrypted, which its head tells also to whom the key is refused.
//!
//! Source: Amazon S3 API reference, "HeadObject": `x-amz-server-side-encryption-aws-kms-key-id`.

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::head_object::{HeadObjectError, HeadObjectOutput};
use aws_sdk_s3::types::RequestPayer;

use super::S3Store;
use super::request::GetError;
use super::signed::Signed;
use crate::fetch::{Encryption, FetchError};
use crate::model::{Access, ObjectRef};

#[async_trait]
impl Encryption for S3Store {
    async fn key(&self, access: &Access, object: &ObjectRef) -> Result<Option<String>, FetchError> {
        let request = self.request(access, object);
        let answer = request.persist(|client, signed| ask(access, object, client, signed)).await;
        Ok(answer.map_err(|refused| refused.into_error(object))?.output.ssekms_key_id)
    }
}

async fn ask(
    access: &Access,
    object: &ObjectRef,
    client: Client,
    signed: Signed,
) -> Result<HeadObjectOutput, GetError> {
    let ask = client.head_object().bucket(&object.bucket).key(&object.key);
    let ask = ask
        .set_version_id(object.version_id.clone())
        .set_expected_bucket_owner(access.account_id.clone())
        .set_request_payer(access.requester_pays.then_some(RequestPayer::Requester))
        .customize()
        .interceptor(signed);
    // S3's errors are told apart by their codes, which this keeps.
    ask.send().await.map_err(|error| {
        error.map_service_error(|error: HeadObjectError| GetObjectError::generic(error.meta().clone()))
    })
}
