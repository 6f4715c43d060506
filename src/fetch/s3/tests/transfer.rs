//! What becomes of the bytes: ranges, what is read ahead, broken transfers, checksums.

use futures_util::StreamExt;

use super::super::part::RESUMES;
use super::*;

const MIB: usize = 1024 * 1024;

#[tokio::test(start_paused = true)]
async fn a_broken_transfer_goes_on_where_it_broke() {
    let script = Script::new([broken("01234", 10), broken_part("567", 5), part("89", 8, 10)]);
    assert_eq!(fetch(&script).await.unwrap(), b"0123456789");
    assert_eq!(script.asked(0, "if-match").as_deref(), Some("\"e1\""));
    assert_eq!(script.asked(0, "range"), None);
    for (index, expected) in [(1, "bytes=5-9"), (2, "bytes=8-9")] {
        assert_eq!(script.asked(index, "range").as_deref(), Some(expected));
        assert_eq!(script.asked(index, "if-match").as_deref(), Some("\"e1\""));
    }
}

fn broken_part(body: &'static str, start: usize) -> Answer {
    Answer { breaks: true, ..part(body, start, 10) }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_changes_while_it_is_read_is_superseded_and_never_mixed() {
    let script = Script::new([broken("01234", 10), refusal(412, "PreconditionFailed", "no")]);
    assert!(matches!(fetch(&script).await, Err(FetchError::Superseded(_))));
}

#[tokio::test(start_paused = true)]
async fn a_store_without_ranges_and_a_line_that_always_breaks_are_given_up() {
    let ignored = Script::new([broken("01234", 10), whole("0123456789")]);
    let error = fetch(&ignored).await.unwrap_err().to_string();
    assert!(error.contains("byte 5 of 10") && error.contains("range"), "{error}");

    let cut = Script::new([broken("01234", 10), Answer { breaks: true, ..part("", 5, 10) }]);
    let error = fetch(&cut).await.unwrap_err().to_string();
    assert!(error.contains("reset"), "{error}");
    assert_eq!(cut.requests() as u32, 1 + RESUMES);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_early_without_an_error_is_noticed() {
    let short = Answer { breaks: false, ..broken("01234", 10) };
    assert_eq!(fetch(&Script::new([short, part("56789", 5, 10)])).await.unwrap(), b"0123456789");
}

#[tokio::test(start_paused = true)]
async fn the_checksum_is_compared_even_across_a_resumed_transfer() {
    // CRC-32 of "0123456789" is a684c7c6.
    for (crc32, good) in [("poTHxg==", true), ("AAAAAA==", false), ("AAAAAA==-2", true)] {
        let mut first = broken("01234", 10);
        first.headers.push(("x-amz-checksum-crc32", crc32.into()));
        let script = Script::new([first, part("56789", 5, 10)]);
        let outcome = fetch(&script).await;
        assert_eq!(outcome.is_ok(), good, "{crc32}: {outcome:?}");
        assert_eq!(script.asked(0, "x-amz-checksum-mode").as_deref(), Some("ENABLED"));
        // Of a range S3 tells none, or one that is not of the range.
        assert_eq!(script.asked(1, "x-amz-checksum-mode"), None);
    }
}

/// 20 MiB, of which each byte tells its place, and the answers that S3 gives to a reader of ranges of 8 MiB.
fn large() -> (Vec<u8>, Vec<Answer>) {
    let bytes: Vec<u8> = (0..20 * MIB as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let first = Answer { body: bytes.clone().into(), ..whole("") };
    let parts = [(8, 16), (16, 20)].map(|(from, to)| part(bytes[from * MIB..to * MIB].to_vec(), from * MIB, 20 * MIB));
    let answers = [first].into_iter().chain(parts).collect();
    (bytes, answers)
}

#[tokio::test(start_paused = true)]
async fn a_larger_object_comes_in_ranges_of_one_version_and_is_checked_as_a_whole() {
    let (bytes, mut answers) = large();
    let crc32 = |bytes: &[u8]| {
        let mut seen = aws_smithy_checksums::ChecksumAlgorithm::Crc32.into_impl();
        seen.update(bytes);
        aws_smithy_types::base64::encode(seen.finalize())
    };
    for (sum, good) in [(crc32(&bytes), true), (crc32(b"other"), false)] {
        answers[0].headers.truncate(1);
        answers[0].headers.push(("x-amz-checksum-crc32", sum));
        let script = Script::new(answers.clone());
        let outcome = fetch(&script).await;
        assert_eq!(outcome.as_ref().is_ok_and(|came| *came == bytes), good);
        assert_eq!(script.requests(), 3);
        for (index, range) in [(1, "bytes=8388608-16777215"), (2, "bytes=16777216-20971519")] {
            assert_eq!(script.asked(index, "range").as_deref(), Some(range));
            assert_eq!(script.asked(index, "if-match").as_deref(), Some("\"e1\""));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_range_is_read_ahead_and_no_more() {
    let (_, answers) = large();
    let script = Script::new(answers);
    let store = script.store().await;
    assert_eq!(store.most_held(&ObjectRef { size: Some(8 * MIB as u64), ..announced() }), 0);
    assert_eq!(store.most_held(&ObjectRef { size: Some(9 * MIB as u64), ..announced() }), MIB as u64);
    assert_eq!(store.most_held(&announced()), 16 * MIB as u64);
    let mut body = store.open(&Access::default(), &announced()).await.unwrap();
    settle().await;
    assert_eq!(script.requests(), 1, "nobody has read anything");
    assert_eq!(body.chunks.next().await.unwrap().unwrap().len(), 8 * MIB);
    settle().await;
    assert_eq!(script.requests(), 2, "the second range comes while the first is worked on");
    assert_eq!(body.chunks.next().await.unwrap().unwrap().len(), 8 * MIB);
    settle().await;
    assert_eq!(script.requests(), 3);
    assert_eq!(body.chunks.next().await.unwrap().unwrap().len(), 4 * MIB);
    assert!(body.chunks.next().await.is_none());
}

/// Until every task has done what it can.
async fn settle() {
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_overwritten_between_two_ranges_is_superseded() {
    let (_, mut answers) = large();
    answers[2] = refusal(412, "PreconditionFailed", "no");
    assert!(matches!(fetch(&Script::new(answers)).await, Err(FetchError::Superseded(_))));
}

#[tokio::test(start_paused = true)]
async fn a_range_that_breaks_is_resumed_within_itself() {
    let (bytes, mut answers) = large();
    let cut = 8 * MIB + 5;
    answers[1] = Answer { body: bytes[8 * MIB..cut].to_vec().into(), breaks: true, ..answers[1].clone() };
    answers.insert(2, part(bytes[cut..16 * MIB].to_vec(), cut, 20 * MIB));
    let script = Script::new(answers);
    assert!(fetch(&script).await.unwrap() == bytes);
    assert_eq!(script.asked(2, "range").as_deref(), Some("bytes=8388613-16777215"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_in_the_middle_is_renewed_and_the_range_asked_for_again() {
    let (bytes, mut answers) = large();
    answers.insert(1, refusal(400, "ExpiredToken", "the provided token has expired"));
    let script = Script::new(answers);
    let renewed = Arc::new(Mutex::new(0));
    let counted = renewed.clone();
    let forget = Arc::new(move |key: &str| {
        *counted.lock().unwrap() += 1;
        key == "key"
    });
    let store = script.store_with(forget).await;
    let body = store.open(&Access::default(), &announced()).await.unwrap();
    assert!(read(body).await.unwrap() == bytes);
    assert_eq!((*renewed.lock().unwrap(), script.requests()), (1, 4));
    assert_eq!(script.asked(1, "range"), script.asked(2, "range"));
}

#[tokio::test(start_paused = true)]
async fn a_part_is_one_request_with_the_announced_etag() {
    let script = Script::new([part("345", 3, 10)]);
    let store = script.store().await;
    assert_eq!(store.range(&Access::default(), &announced(), 3..6).await.unwrap(), "345");
    assert_eq!(script.asked(0, "range").as_deref(), Some("bytes=3-5"));
    assert_eq!(script.asked(0, "if-match").as_deref(), Some("\"e1\""));
    let behind = Script::new([refusal(416, "InvalidRange", "")]);
    assert_eq!(behind.store().await.range(&Access::default(), &announced(), 30..60).await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn parts_of_objects_of_two_lengths_are_never_mixed() {
    for answer in [part("345", 3, 10), refusal(416, "InvalidRange", "")] {
        let mut answer = answer;
        answer.headers.retain(|(name, _)| *name != "etag");
        let opened = ObjectRef { etag: None, size: Some(12), ..announced() };
        let store = Script::new([answer]).store().await;
        let refused = store.range(&Access::default(), &opened, 3..6).await;
        assert!(matches!(&refused, Err(FetchError::Unavailable(text)) if text.contains("a b.json")), "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_is_asked_for_by_its_id_and_the_bucket_by_its_owner() {
    let script = Script::new([whole("x")]);
    let access = Access { account_id: Some("111122223333".into()), requester_pays: true, ..Access::default() };
    let versioned = ObjectRef { version_id: Some("v1".into()), ..announced() };
    script.store().await.open(&access, &versioned).await.unwrap();
    assert_eq!(script.asked(0, "if-match"), None);
    assert_eq!(script.asked(0, "x-amz-expected-bucket-owner").as_deref(), Some("111122223333"));
    assert_eq!(script.asked(0, "x-amz-request-payer").as_deref(), Some("requester"));
    let uri = script.asked.lock().unwrap()[0].uri().to_owned();
    assert!(uri.contains("/logs/a%20b.json") && uri.contains("versionId=v1") && uri.contains("eu-west-1"), "{uri}");
}

#[tokio::test(start_paused = true)]
async fn the_region_is_the_notification_s_or_the_source_s_or_the_daemon_s() {
    for (announced_in, set, expected) in [
        (Some("eu-west-1"), Some("eu-west-2"), "eu-west-1"),
        (Some(""), Some("eu-west-2"), "eu-west-2"),
        (None, Some("eu-west-2"), "eu-west-2"),
        (None, None, "us-east-1"),
    ] {
        let access = Access { region: set.map(Into::into), ..Access::default() };
        let object = ObjectRef { region: announced_in.map(Into::into), ..announced() };
        let body = Script::new([whole("x")]).store().await.open(&access, &object).await.unwrap();
        assert_eq!(body.object.region.as_deref(), Some(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_may_have_a_store_of_its_own() {
    let script = Script::new([whole("x")]);
    let access =
        Access { endpoint: Some("https://minio.example:9000".into()), path_style: Some(false), ..Access::default() };
    script.store().await.open(&access, &announced()).await.unwrap();
    let uri = script.asked.lock().unwrap()[0].uri().to_owned();
    assert!(uri.starts_with("https://logs.minio.example:9000/a%20b.json"), "{uri}");
}
