//! Compares the bytes that came with the checksum that S3 keeps of the whole object, if it keeps one.
//!
//! Computed over all chunks in order, so it holds across resumed transfers. A composite checksum (of the parts of a
//! multipart upload) says nothing about the whole and is passed over.

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_smithy_checksums::ChecksumAlgorithm;
use aws_smithy_checksums::http::HttpChecksum;
use aws_smithy_types::base64;

pub(super) struct Checksum {
    /// What S3 says, base64.
    expected: String,
    algorithm: ChecksumAlgorithm,
    seen: Box<dyn HttpChecksum>,
}

impl Checksum {
    /// The one of an answer for the whole object, the cheapest to compute if there are several.
    pub(super) fn of(answer: &GetObjectOutput) -> Option<Checksum> {
        let (expected, algorithm) = [
            (answer.checksum_crc64_nvme(), ChecksumAlgorithm::Crc64Nvme),
            (answer.checksum_crc32_c(), ChecksumAlgorithm::Crc32c),
            (answer.checksum_crc32(), ChecksumAlgorithm::Crc32),
            (answer.checksum_sha1(), ChecksumAlgorithm::Sha1),
            (answer.checksum_sha256(), ChecksumAlgorithm::Sha256),
        ]
        .into_iter()
        .find_map(|(value, algorithm)| Some((value?, algorithm)))?;
        // A composite one is written `<checksum>-<parts>`; base64 has no hyphen.
        (!expected.contains('-')).then(|| Checksum {
            expected: expected.to_owned(),
            algorithm,
            seen: algorithm.into_impl(),
        })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.seen.update(bytes);
    }

    /// The error says which checksum differs.
    pub(super) fn verify(self) -> Result<(), String> {
        let seen = base64::encode(self.seen.finalize());
        if seen == self.expected {
            return Ok(());
        }
        Err(format!("the {} of what came is {seen}, that of the object {}", self.algorithm.as_str(), self.expected))
    }
}
