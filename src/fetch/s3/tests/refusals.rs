//! What each error comes to: again, elsewhere, with new credentials, or a disposition and its remedy.

use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use tokio::time::Instant;

use super::super::request::ATTEMPTS;
use super::*;

#[tokio::test(start_paused = true)]
async fn the_region_that_s3_names_is_used_and_remembered() {
    let header = |status, code| Answer {
        headers: vec![("x-amz-bucket-region", "ap-south-1".into())],
        ..refusal(status, code, "elsewhere")
    };
    let text =
        "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>ap-south-1</Region></Error>";
    let in_text = Answer { status: 400, body: text.into(), ..Answer::default() };
    // A redirect that names no region is followed by the question where the bucket is, whatever that is answered with.
    let nameless = [refusal(301, "PermanentRedirect", "use another endpoint"), header(403, "")];
    for told in [
        vec![header(301, "PermanentRedirect")],
        vec![header(400, "AuthorizationHeaderMalformed")],
        vec![in_text],
        nameless.to_vec(),
    ] {
        let before = told.len();
        let script = Script::new(told.into_iter().chain([whole("x")]));
        let store = script.store().await;
        for _ in 0..2 {
            let body = store.open(&Access::default(), &announced()).await.unwrap();
            assert_eq!(body.object.region.as_deref(), Some("ap-south-1"));
        }
        assert_eq!(script.requests(), before + 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_is_sent_round_in_a_circle_is_given_up() {
    let mut circle = Vec::new();
    for region in ["us-east-1", "eu-west-1", "us-east-1", "eu-west-1"] {
        let answer = refusal(301, "PermanentRedirect", "use another endpoint");
        circle.push(Answer { headers: vec![("x-amz-bucket-region", region.into())], ..answer });
    }
    let script = Script::new(circle);
    assert!(matches!(fetch(&script).await, Err(FetchError::Unavailable(text)) if text.contains("region")));
    assert_eq!(script.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn each_error_of_s3_has_its_disposition_and_its_remedy() {
    let cases = [
        (404, "NoSuchKey", "", "Missing", "deleted before it was read"),
        (404, "NoSuchVersion", "", "Missing", "version"),
        (404, "NoSuchBucket", "", "NoBucket", "no_such_bucket: bucket logs"),
        (405, "MethodNotAllowed", "", "Missing", "delete marker"),
        (403, "AccessDenied", "Access Denied", "Forbidden(AccessDenied", "s3:ListBucket"),
        (403, "AccessDenied", "not authorized to perform: kms:Decrypt", "Forbidden(KmsDenied", "kms:Decrypt in"),
        (403, "AccessDenied", "the KMS key is pending deletion", "Forbidden(KmsKeyUnusable", "cancel its deletion"),
        (400, "KMS.DisabledException", "", "Forbidden(KmsKeyUnusable", "enable it"),
        (400, "KMS.KMSInvalidStateException", "", "Forbidden(KmsKeyUnusable", "enable it"),
        (400, "KMS.AccessDeniedException", "", "Forbidden(KmsDenied", "key's policy"),
        (400, "KMS.ThrottlingException", "", "Throttled", "throttling"),
        (403, "InvalidAccessKeyId", "", "Forbidden(AccessDenied", "access key"),
        (403, "InvalidObjectState", "", "Archived", "s3:RestoreObject"),
        (412, "PreconditionFailed", "", "Superseded", "overwritten"),
        (503, "SlowDown", "", "Throttled", "throttling"),
        (429, "", "", "Throttled", "throttling"),
        (500, "InternalError", "", "Unavailable", "tried again"),
        (502, "", "", "Unavailable", "tried again"),
        (400, "ExpiredToken", "", "Unavailable", "clock"),
        (301, "PermanentRedirect", "", "Unavailable", "region"),
    ];
    for (status, code, message, disposition, remedy) in cases {
        let error = fetch(&Script::new([refusal(status, code, message)])).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(disposition), "{code}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(remedy) && text.contains("logs"), "{code}: {text}");
        if let FetchError::Forbidden(refusal, _) = error {
            assert!(text.starts_with(&format!("{}: ", refusal.code().as_str())), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_key_of_the_source_is_named() {
    let key = "arn:aws:kms:eu-west-1:111122223333:key/1a2b";
    let access = Access { kms_key_arn: Some(key.into()), ..Access::default() };
    let script = Script::new([refusal(403, "AccessDenied", "not authorized to perform: kms:Decrypt")]);
    let error = script.store().await.open(&access, &announced()).await.err().unwrap().to_string();
    assert!(error.starts_with("kms_denied: ") && error.contains(key), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_passes_by_itself_is_tried_again_and_what_does_not_is_asked_once() {
    for (status, code) in [(500, "InternalError"), (503, "SlowDown"), (504, ""), (400, "RequestTimeout")] {
        let script = Script::new([refusal(status, code, ""), refusal(status, code, ""), whole("x")]);
        assert_eq!(fetch(&script).await.unwrap(), b"x", "{code}");
        let for_ever = Script::new([refusal(status, code, "")]);
        fetch(&for_ever).await.unwrap_err();
        assert_eq!(for_ever.requests() as u32, ATTEMPTS, "{code}");
    }
    for (status, code) in [(404, "NoSuchKey"), (403, "AccessDenied"), (412, "PreconditionFailed")] {
        let script = Script::new([refusal(status, code, "")]);
        fetch(&script).await.unwrap_err();
        assert_eq!(script.requests(), 1, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_throttles_is_asked_slower_by_every_reader() {
    let script = Script::new([refusal(503, "SlowDown", ""), whole("x")]);
    let store = script.store().await;
    store.open(&Access::default(), &announced()).await.unwrap();
    let start = Instant::now();
    for _ in 0..5 {
        store.open(&Access::default(), &announced()).await.unwrap();
    }
    assert!(start.elapsed() > Duration::from_millis(100), "{:?}", start.elapsed());
    let start = Instant::now();
    let other = ObjectRef { bucket: "other".into(), ..announced() };
    store.open(&Access::default(), &other).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn unknown_credentials_are_thrown_away_once() {
    for code in ["InvalidAccessKeyId", "ExpiredToken", "InvalidToken"] {
        let script = Script::new([refusal(403, code, ""), whole("x")]);
        let store = script.store_with(Arc::new(|key| key == "key")).await;
        store.open(&Access::default(), &announced()).await.unwrap();
        let always = Script::new([refusal(403, code, "")]);
        let store = always.store_with(Arc::new(|key| key == "key")).await;
        store.open(&Access::default(), &announced()).await.err().unwrap();
        assert_eq!(always.requests(), 2, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_refuses_is_named_with_what_to_allow() {
    let denied = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized</Message></Error>\
                  <RequestId>r</RequestId></ErrorResponse>";
    let script = Script::new([Answer { status: 403, body: denied.into(), ..Answer::default() }]);
    let sdk = script.sdk().await;
    let role = "arn:aws:iam::111122223333:role/logs";
    let provider = AssumeRoleProvider::builder(role).session_name("s").configure(&sdk).build().await;
    let identity = Identity { credentials: SharedCredentialsProvider::new(provider), forget: never_new() };
    let store = S3Store::new(&sdk, &Config::default(), Arc::new(move |_| identity.clone()), Tasks::new());
    let access = Access { source: "trail".into(), role_arn: Some(role.into()), ..Access::default() };
    let error = store.open(&access, &announced()).await.err().unwrap();
    assert!(matches!(error, FetchError::Forbidden(Refusal::AssumeRoleDenied, _)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(role) && text.contains("\"trail\"") && text.contains("trust policy"), "{text}");
    assert_eq!(script.requests(), 1, "a refusal of STS is no reason to ask again");
}
