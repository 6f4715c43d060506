//! What an error of S3, of STS or of the network means for an object, and the words that help to mend it.
//!
//! Source: Amazon S3 API reference, "Error responses"; AWS KMS developer guide, "Key states"; AWS STS API reference,
//! "AssumeRole".

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{DisplayErrorContext, ErrorMetadata, ProvideErrorMetadata, SdkError};

use super::request::GetError;
use crate::fetch::{FetchError, Refusal};
use crate::model::{Access, ObjectRef};

/// Where S3 names the region of a bucket, in refusals too.
pub(super) const REGION: &str = "x-amz-bucket-region";

/// What can be done about a refusal at once.
pub(super) enum Remedy {
    /// The bucket is in another region: the one that the answer names, if it does.
    Elsewhere(Option<String>),
    /// The credentials are not known, or not any more.
    Renew,
    /// Again, and fewer requests.
    Slower,
    Again,
    /// The range starts behind the end of the object.
    NoRange,
    /// Nothing.
    None,
}

pub(super) fn remedy(error: &GetError) -> Remedy {
    let Some(response) = error.raw_response() else {
        let may_work =
            matches!(error, SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_));
        let identity = causes(error).any(|cause| cause.is::<CredentialsError>());
        return if may_work && !identity { Remedy::Again } else { Remedy::None };
    };
    match (error.code().unwrap_or_default(), response.status().as_u16()) {
        ("InvalidRange", _) | (_, 416) => Remedy::NoRange,
        (code, status) if is_about_region(code, status) => Remedy::Elsewhere(named_region(error)),
        ("InvalidAccessKeyId" | "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired", _) => Remedy::Renew,
        (code, status) if is_throttling(code, status) => Remedy::Slower,
        ("RequestTimeout" | "KMS.InternalException" | "KMS.DependencyTimeoutException", _) | (_, 408 | 500..) => {
            Remedy::Again
        }
        _ => Remedy::None,
    }
}

fn is_about_region(code: &str, status: u16) -> bool {
    matches!(
        code,
        "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
    ) || matches!(status, 301 | 307)
}

fn is_throttling(code: &str, status: u16) -> bool {
    const CODES: [&str; 6] = [
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "KMS.ThrottlingException",
    ];
    CODES.contains(&code) || matches!(status, 429 | 503)
}

/// In a header, or in the text of the refusal.
fn named_region(error: &GetError) -> Option<String> {
    let response = error.raw_response()?;
    if let Some(region) = response.headers().get(REGION) {
        return Some(region.to_owned());
    }
    let body = std::str::from_utf8(response.body().bytes()?).ok()?;
    let (_, after) = body.split_once("<Region>")?;
    let (region, _) = after.split_once("</Region>")?;
    Some(region.to_owned())
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
        let lower = message.to_lowercase();
        let about_key = code.starts_with("KMS.") || (status == 403 && lower.contains("kms"));
        match (code, status) {
            ("InvalidObjectState", _) => FetchError::Archived(format!(
                "{} is in an archive storage class; restore it (s3:RestoreObject), then send it again",
                self.object
            )),
            ("PreconditionFailed", _) | (_, 412) => FetchError::Superseded(format!(
                "{} was overwritten since it was announced; the newer notification brings it",
                self.object
            )),
            ("NoSuchBucket", _) => FetchError::NoBucket(format!(
                "bucket {} of {} does not exist; correct the source's bucket, or remove the source",
                self.object.bucket, self.object
            )),
            ("MethodNotAllowed", _) | (_, 404) => self.missing(code),
            _ if is_throttling(code, status) => FetchError::Throttled(
                self.reading(&format!("S3 is throttling ({said}), also after it was asked slower; it is tried again")),
            ),
            ("KMS.InternalException" | "KMS.DependencyTimeoutException", _) => {
                self.later(&format!("{said}; it is tried again"))
            }
            _ if about_key => self.key_refused(&said, code, &lower),
            // These come with status 400 or 403, and end without anybody's help.
            ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" | "RequestTimeTooSkewed", _) => self.later(
                &format!("{} was answered {said}; the credentials are renewed, check this host's clock", self.reader()),
            ),
            ("InvalidAccessKeyId", _) => self.unknown_key(&said),
            (_, 401 | 403) => self.refused(&said),
            _ if is_about_region(code, status) => {
                self.later(&format!("{said}; set the source's region to that of its bucket"))
            }
            _ => self.later(&format!("{said}; it is tried again")),
        }
    }

    fn missing(&self, code: &str) -> FetchError {
        let object = self.object;
        FetchError::Missing(match code {
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
            let text = format!(
                "source {:?} can't assume role {role} to read {} ({code}: {message}); the role's trust policy must \
                 allow sts:AssumeRole to margay's identity{}, and that identity must be allowed sts:AssumeRole on \
                 the role",
                self.access.source,
                self.object,
                if self.access.external_id.is_some() { " with the source's external id" } else { "" }
            );
            return FetchError::Forbidden(Refusal::AssumeRoleDenied, text);
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
        let text = format!(
            "{} may not read {} ({said}); allow s3:GetObject and s3:GetObjectVersion in the role's and the bucket's \
             policy{owner}. S3 answers the same for a key that does not exist unless s3:ListBucket is allowed",
            self.reader(),
            self.object,
        );
        FetchError::Forbidden(Refusal::AccessDenied, text)
    }

    /// The access key is unknown, also a new one where there could be one.
    fn unknown_key(&self, said: &str) -> FetchError {
        let text = format!(
            "S3 does not know the access key with which {} reads {} ({said}); correct margay's own credentials, or wait \
             for a role that was just made",
            self.reader(),
            self.object,
        );
        FetchError::Forbidden(Refusal::AccessDenied, text)
    }

    fn key_refused(&self, said: &str, code: &str, message: &str) -> FetchError {
        let key = match &self.access.kms_key_arn {
            Some(key) => format!("the KMS key of {} (the source's is {key})", self.object),
            None => format!("the KMS key of {}", self.object),
        };
        let unusable = !matches!(code, "AccessDenied" | "KMS.AccessDeniedException")
            || message.contains("pending deletion")
            || message.contains("is disabled");
        if unusable {
            let text = format!("{key} can't be used ({said}); enable it, or cancel its deletion");
            return FetchError::Forbidden(Refusal::KmsKeyUnusable, text);
        }
        let text = format!(
            "{} may not use {key} ({said}); allow kms:Decrypt in the role's policy, and in the key's policy too when \
             the key is in another account",
            self.reader()
        );
        FetchError::Forbidden(Refusal::KmsDenied, text)
    }

    fn later(&self, cause: &str) -> FetchError {
        FetchError::Unavailable(self.reading(cause))
    }

    fn reading(&self, cause: &str) -> String {
        format!("reading {} in region {}: {cause}", self.object, self.region)
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
