//! S3 for readers, path style: objects whole or from an offset, their heads, buckets, listings.
//!
//! Source: Amazon S3 API reference. Bodies are made as they are sent, in pieces that a network might bring.

use std::io;

use aws_smithy_checksums::ChecksumAlgorithm;
use aws_smithy_types::base64;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Response};
use bytes::Bytes;
use futures_util::stream::try_unfold;
use percent_encoding::percent_decode_str;

use super::faults::{Effect, Effects, Moment, Refusal, Reset};
use super::server::{Asked, response, xml_error};
use super::state::{Content, Object, Op, State};

/// Bytes of a body that are sent at once.
const PIECE: u64 = 64 * 1024;

/// A listing has at most so many keys.
const PAGE: usize = 1000;

pub async fn answer(state: &State, asked: &Asked) -> Result<Response<Body>, Reset> {
    let path = percent_decode_str(asked.path.trim_start_matches('/')).decode_utf8_lossy().into_owned();
    let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
    let (op, subject) = match (&asked.method, key) {
        (&Method::HEAD, "") => (Op::HeadBucket, bucket),
        (&Method::GET, "") => (Op::ListObjects, bucket),
        (&Method::HEAD, key) => (Op::HeadObject, key),
        (_, key) => (Op::GetObject, key),
    };
    let effects = state.begins(op, subject, asked.header("range"));
    if let Some(refusal) = effects.at(Moment::Before).await? {
        return Ok(refused(&refusal));
    }
    let (access_key, region) = asked.signer();
    if let Some(refusal) = state.refused(access_key) {
        return Ok(refused(&refusal));
    }
    let Some(home) = state.in_bucket(bucket, |bucket| bucket.region.clone()) else {
        return Ok(refused(&Refusal::new(404, "NoSuchBucket", "The specified bucket does not exist")));
    };
    let mut answer = match op {
        _ if region != home => {
            let text = "The bucket you are attempting to access must be addressed using the specified endpoint.";
            refused(&Refusal::new(301, "PermanentRedirect", text))
        }
        Op::HeadBucket => response(200, "application/xml", ""),
        Op::ListObjects => listing(state, bucket, asked),
        _ => match state.in_bucket(bucket, |bucket| bucket.objects.get(key).cloned()).flatten() {
            Some(object) => read(object, asked, effects),
            None => refused(&Refusal::new(404, "NoSuchKey", "The specified key does not exist.")),
        },
    };
    answer.headers_mut().insert("x-amz-bucket-region", value(&home));
    Ok(answer)
}

fn refused(refusal: &Refusal) -> Response<Body> {
    xml_error(refusal, None)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("it is ASCII")
}

fn read(object: Object, asked: &Asked, effects: Effects) -> Response<Body> {
    let Object { etag, content } = object;
    let wanted = asked.header("if-match");
    if !wanted.is_empty() && wanted.trim_matches('"') != etag.trim_matches('"') {
        let text = "At least one of the pre-conditions you specified did not hold";
        return refused(&Refusal::new(412, "PreconditionFailed", text));
    }
    if asked.query.split('&').any(|pair| pair.starts_with("versionId=") && pair != "versionId=null") {
        return refused(&Refusal::new(404, "NoSuchVersion", "The specified version does not exist."));
    }
    let total = content.len();
    let range = range(asked.header("range"), total);
    let (start, end) = match range {
        None => (0, total),
        Some(Some(range)) => range,
        Some(None) => return refused(&Refusal::new(416, "InvalidRange", "The requested range is not satisfiable")),
    };
    let mut body = Sending { content, offset: start, end, begun: start, effects: effects.into_body() };
    for effect in &body.effects {
        if let Effect::CutAt(bytes) = effect {
            body.end = body.end.min(start.max(*bytes));
        }
    }
    let length = body.end - body.offset;
    let checksum = body.content.whole().filter(|_| range.is_none() && asked.header("x-amz-checksum-mode") == "ENABLED");
    let checksum = checksum.map(checksum_of);
    let status = if range.is_some() { 206 } else { 200 };
    let stream = try_unfold(body, |mut body| async move {
        let piece = body.next().await?;
        io::Result::Ok(piece.map(|piece| (piece, body)))
    });
    let body = if asked.method == Method::HEAD { Body::empty() } else { Body::from_stream(stream) };
    let mut answer = response(status, "binary/octet-stream", body);
    let headers = answer.headers_mut();
    headers.insert("content-length", length.into());
    headers.insert("etag", value(&etag));
    headers.insert("accept-ranges", value("bytes"));
    if let Some(checksum) = checksum {
        headers.insert("x-amz-checksum-crc32", value(&checksum));
    }
    if range.is_some() {
        headers.insert("content-range", value(&format!("bytes {start}-{}/{total}", end - 1)));
    }
    answer
}

fn checksum_of(bytes: &Bytes) -> String {
    let mut hash = ChecksumAlgorithm::Crc32.into_impl();
    hash.update(bytes);
    base64::encode(hash.finalize())
}

/// `bytes=5-` and `bytes=5-9`, as start and end; inside `None` when there is nothing there. A header of another form is
/// passed over, as HTTP wants.
fn range(header: &str, total: u64) -> Option<Option<(u64, u64)>> {
    let (start, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let start: u64 = start.parse().ok()?;
    let end = last.parse::<u64>().map_or(total, |last| total.min(last + 1));
    Some((start < end).then_some((start, end)))
}

/// A body on its way.
struct Sending {
    content: Content,
    offset: u64,
    end: u64,
    begun: u64,
    effects: Vec<Effect>,
}

impl Sending {
    /// The next piece; an error closes the connection.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let sent = self.offset - self.begun;
        let mut most = PIECE.min(self.end - self.offset);
        let mut passed = None;
        for (index, effect) in self.effects.iter().enumerate() {
            match effect {
                Effect::BreakAfter(bytes) if sent >= *bytes => {
                    // What was sent leaves first: hyper drops what it holds when a body fails.
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    return Err(io::Error::other("a fault breaks this body"));
                }
                Effect::HoldAfter(bytes, gate) if sent >= *bytes => {
                    gate.pass().await;
                    passed = Some(index);
                }
                Effect::BreakAfter(bytes) | Effect::HoldAfter(bytes, _) => most = most.min(bytes - sent),
                _ => {}
            }
        }
        if let Some(index) = passed {
            self.effects.remove(index);
        }
        if most == 0 {
            return Ok(None);
        }
        let mut piece = self.content.at(self.offset, most);
        for effect in &self.effects {
            if let Effect::Garble(at) = effect
                && let Some(index) = at.checked_sub(self.offset).filter(|index| *index < piece.len() as u64)
            {
                let mut bytes = piece.to_vec();
                bytes[index as usize] ^= 0xff;
                piece = bytes.into();
            }
        }
        self.offset += piece.len() as u64;
        Ok(Some(piece))
    }
}

/// `ListObjectsV2`: prefix, start-after, continuation-token (the last key of the page before) and max-keys.
fn listing(state: &State, bucket: &str, asked: &Asked) -> Response<Body> {
    let parameter = |name: &str| {
        let pair = asked.query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
        pair.map(|(_, value)| percent_decode_str(value).decode_utf8_lossy().into_owned())
    };
    let prefix = parameter("prefix").unwrap_or_default();
    let after = parameter("continuation-token").or_else(|| parameter("start-after")).unwrap_or_default();
    let most = parameter("max-keys").and_then(|text| text.parse().ok()).unwrap_or(PAGE).min(PAGE);
    let page = state.in_bucket(bucket, |bucket| {
        let all = bucket.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && key.as_str() > after.as_str());
        let mut keys: Vec<_> = all.take(most + 1).map(|(key, object)| (key.clone(), object.clone())).collect();
        let more = keys.len() > most;
        keys.truncate(most);
        (keys, more)
    });
    let (objects, more) = page.unwrap_or_default();
    let mut body = format!("<ListBucketResult><Name>{bucket}</Name><IsTruncated>{more}</IsTruncated>");
    for (key, object) in &objects {
        let (key, size) = (escaped(key), object.content.len());
        body += &format!(
            "<Contents><Key>{key}</Key><LastModified>2026-01-15T09:15:00.000Z</LastModified><ETag>{}</ETag>\
             <Size>{size}</Size></Contents>",
            escaped(&object.etag)
        );
    }
    if let (true, Some((last, _))) = (more, objects.last()) {
        body += &format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(last));
    }
    body += &format!("<KeyCount>{}</KeyCount></ListBucketResult>", objects.len());
    response(200, "application/xml", body)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
