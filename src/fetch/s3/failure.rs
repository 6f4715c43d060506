//! What an error of S3, of STS or of the network means for an object, and the words that help to mend it.
//!
//! Source: Amazon S3 API reference, "Error responses"; AWS KMS developer guide, "Key states".

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{DisplayErrorContext, ErrorMetadata, ProvideErrorMetadata, SdkError};

use super::GetError;
use crate::fetch::FetchError;
use crate::model::{Access, ObjectRef};

/// The region in which S3 says that the bucket is, when it is not the one that was asked.
pub(super) fn other_region(error: &GetError, asked: &str) -> Option<String> {
    let response = error.raw_response()?;
    let region = response.headers().get("x-amz-bucket-region")?;
    // An answer of the right region carries the header as well.
    let elsewhere = response.status().as_u16() == 301 || is_about_region(error.code().unwrap_or_default());
    (elsewhere && region != asked).then(|| region.to_owned())
}

fn is_about_region(code: &str) -> bool {
    matches!(code, "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed")
}

pub(super) fn classify(error: &GetError, access: &Access, object: &ObjectRef, region: &str) -> FetchError {
    let about = About { access, object, region };
    match error.raw_response() {
        Some(response) => {
            let status = response.status().as_u16();
            about.answer(status, error.code().unwrap_or_default(), error.message().unwrap_or_default())
        }
        None => about.no_answer(error),
    }
}

struct About<'a> {
    access: &'a Access,
    object: &'a ObjectRef,
    region: &'a str,
}

impl About<'_> {
    /// S3 has answered with an error.
    fn answer(&self, status: u16, code: &str, message: &str) -> FetchError {
        let said = if code.is_empty() { format!("status {status}") } else { format!("{code}: {message}") };
        let about_key = code.starts_with("KMS.") || (status == 403 && message.to_lowercase().contains("kms"));
        match (code, status) {
            ("InvalidObjectState", _) => FetchError::Archived(format!(
                "{} is in an archive storage class; restore it (s3:RestoreObject), then send it again",
                self.object
            )),
            ("PreconditionFailed", _) | (_, 412) => FetchError::Superseded(format!(
                "{} was overwritten since it was announced; the newer notification brings it",
                self.object
            )),
            ("MethodNotAllowed", _) | (_, 404) => self.missing(code),
            _ if about_key => self.key_refused(&said),
            // These come with status 400 or 403, and end without anybody's help.
            ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" | "RequestTimeTooSkewed", _) => self.later(
                &format!("{} was answered {said}; the credentials are renewed, check this host's clock", self.reader()),
            ),
            (_, 401 | 403) => self.refused(&said),
            (code, status) if status == 301 || is_about_region(code) => {
                self.later(&format!("{said}; set the source's region to that of its bucket"))
            }
            ("SlowDown", _) | (_, 429 | 503) => self.later(&format!("S3 is throttling ({said}); it is tried again")),
            _ => self.later(&format!("{said}; it is tried again")),
        }
    }

    fn missing(&self, code: &str) -> FetchError {
        let (object, bucket) = (self.object, &self.object.bucket);
        FetchError::Missing(match code {
            "NoSuchBucket" => {
                format!("bucket {bucket} of {object} does not exist; correct the source's bucket, or remove the source")
            }
            "NoSuchVersion" => format!(
                "version {} of {object} does not exist; a lifecycle rule or a person has deleted it",
                object.version_id.as_deref().unwrap_or_default()
            ),
            "MethodNotAllowed" => format!("{object} is a delete marker; it has no bytes"),
            _ => format!(
                "{object} does not exist; it was deleted before it was read, or its key was announced in another \
                 spelling"
            ),
        })
    }

    /// No answer has come: no identity, no connection, or no time.
    fn no_answer(&self, error: &GetError) -> FetchError {
        if causes(error).any(|cause| cause.is::<CredentialsError>()) {
            return self.no_identity(error);
        }
        let cause = match error {
            SdkError::TimeoutError(_) => "no answer in time".to_owned(),
            _ => DisplayErrorContext(error).to_string(),
        };
        self.later(&format!("{cause}; check that the S3 endpoint is reachable from here"))
    }

    /// The identity could not be had. STS's refusal waits for a person; everything else is tried again.
    fn no_identity(&self, error: &GetError) -> FetchError {
        let cause = DisplayErrorContext(error);
        let Some(role) = &self.access.role_arn else {
            return self.later(&format!("margay has no AWS credentials ({cause}); give it a role, a profile or keys"));
        };
        let answer = causes(error).find_map(|cause| cause.downcast_ref::<ErrorMetadata>());
        let code = answer.and_then(ErrorMetadata::code).unwrap_or_default();
        if matches!(code, "AccessDenied" | "AccessDeniedException" | "ValidationError" | "RegionDisabledException") {
            let message = answer.and_then(ErrorMetadata::message).unwrap_or_default();
            return FetchError::Forbidden(format!(
                "source {:?} can't assume role {role} to read {} ({code}: {message}); the role's trust policy must \
                 allow sts:AssumeRole to margay's identity{}, and that identity must be allowed sts:AssumeRole on \
                 the role",
                self.access.source,
                self.object,
                if self.access.external_id.is_some() { " with the source's external id" } else { "" }
            ));
        }
        self.later(&format!(
            "assuming role {role} failed ({cause}); check margay's own credentials and that STS is reachable"
        ))
    }

    fn refused(&self, said: &str) -> FetchError {
        let owner = match &self.access.account_id {
            Some(account) => format!(", and check that account {account} owns the bucket"),
            None => String::new(),
        };
        FetchError::Forbidden(format!(
            "{} may not read {} ({said}); allow s3:GetObject and s3:GetObjectVersion in the role's and the bucket's \
             policy{owner}. S3 answers the same for a key that does not exist unless s3:ListBucket is allowed",
            self.reader(),
            self.object,
        ))
    }

    fn key_refused(&self, said: &str) -> FetchError {
        FetchError::Forbidden(format!(
            "{} can't use the KMS key of {} ({said}); allow kms:Decrypt in the role's and the key's policy, and \
             check that the key is enabled and not about to be deleted",
            self.reader(),
            self.object
        ))
    }

    fn later(&self, cause: &str) -> FetchError {
        FetchError::Unavailable(format!("reading {} in region {}: {cause}", self.object, self.region))
    }

    /// Who is asking.
    fn reader(&self) -> String {
        match &self.access.role_arn {
            Some(role) => format!("role {role} of source {:?}", self.access.source),
            None => format!("margay's own identity (for source {:?})", self.access.source),
        }
    }
}

/// An error and what caused it, down to the first.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'e (dyn Error + 'static)| (*error).source())
}
