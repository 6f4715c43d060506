//! Which credentials a request was signed with: while it is on its way, the session may have got others.
//!
//! Source: IAM user guide, "Create a signed AWS API request": the `Authorization` header names the access key id.

use std::sync::{Arc, Mutex};

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

/// The access key id of the request that was sent last; part of no log.
#[derive(Clone, Debug, Default)]
pub(super) struct Signed(Arc<Mutex<Option<String>>>);

impl Signed {
    pub(super) fn access_key(&self) -> Option<String> {
        self.0.lock().expect("nobody panics while holding an access key id").clone()
    }
}

impl Intercept for Signed {
    fn name(&self) -> &'static str {
        "Signed"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let key = context.request().headers().get("authorization").and_then(access_key).map(str::to_owned);
        *self.0.lock().expect("nobody panics while holding an access key id") = key;
        Ok(())
    }
}

/// `<algorithm> Credential=<access key id>/<scope>, …`
fn access_key(authorization: &str) -> Option<&str> {
    let (_, credential) = authorization.split_once("Credential=")?;
    credential.split('/').next()
}
