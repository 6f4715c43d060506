//! Snappy in its framing format, pushed in and pushed out: concatenated streams, padding, chunks to skip, checksums.
//!
//! `snap` decodes by reading. It is given one complete chunk at a time, which it reads to its end, so that it never
//! waits in the middle; a chunk of data is at most 64 KiB, and what is skipped is never collected.

use std::collections::VecDeque;
use std::io::Read;

use snap::read::FrameDecoder;

use super::error::{Fault, Reason};
use super::part::{Part, number};

const CODEC: &str = "snappy";
const HEADER: usize = 4;
/// 64 KiB that do not compress, and their checksum.
const MAX_CHUNK: u32 = 76_490 + 4;

pub(super) struct Unsnappy {
    decoder: FrameDecoder<VecDeque<u8>>,
    at: At,
    /// The decoder has a chunk that it was not read to the end of.
    full: bool,
}

enum At {
    Header(Part),
    Chunk(Part),
    Skip { left: usize },
}

impl Unsnappy {
    pub(super) fn new() -> Unsnappy {
        Unsnappy { decoder: FrameDecoder::new(VecDeque::new()), at: At::Header(Part::new(HEADER)), full: false }
    }

    pub(super) fn fill(&mut self, input: &mut &[u8], slice: &mut [u8]) -> Result<usize, Fault> {
        loop {
            if self.full {
                let given = self.decoder.read(slice).map_err(|error| corrupt(&error.to_string()))?;
                self.full = given > 0;
                if given > 0 {
                    return Ok(given);
                }
            }
            if input.is_empty() {
                return Ok(0);
            }
            match &mut self.at {
                At::Header(part) => {
                    if let Some(header) = part.take(input) {
                        self.header(&header)?;
                    }
                }
                At::Chunk(part) => {
                    if let Some(chunk) = part.take(input) {
                        self.decoder.get_mut().extend(chunk);
                        self.full = true;
                        self.at = At::Header(Part::new(HEADER));
                    }
                }
                At::Skip { left } => {
                    let taken = input.len().min(*left);
                    *left -= taken;
                    *input = &input[taken..];
                    if *left == 0 {
                        self.at = At::Header(Part::new(HEADER));
                    }
                }
            }
        }
    }

    pub(super) fn finish(&self) -> Result<(), Reason> {
        match &self.at {
            At::Header(part) if part.is_empty() => Ok(()),
            _ => Err(Reason::Truncated { codec: CODEC }),
        }
    }

    fn header(&mut self, header: &[u8]) -> Result<(), Reason> {
        let length = number(&header[1..]);
        self.at = match (header[0], length) {
            (0x80..=0xfe, 0) => At::Header(Part::new(HEADER)),
            (0x80..=0xfe, _) => At::Skip { left: length as usize },
            (0x02..=0x7f, _) => return Err(corrupt("a chunk has a reserved type")),
            (0x00 | 0x01 | 0xff, 5..=MAX_CHUNK) => {
                self.decoder.get_mut().extend(header);
                At::Chunk(Part::new(length as usize))
            }
            (0x00 | 0x01 | 0xff, _) => return Err(corrupt("a chunk has a length that no chunk of its type has")),
        };
        Ok(())
    }
}

fn corrupt(fault: &str) -> Reason {
    Reason::Corrupt { codec: CODEC, fault: fault.to_string() }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use snap::write::FrameEncoder;

    use super::*;
    use crate::decode::testing::lines;
    use crate::decode::torn::assert_torn;

    fn snappy(data: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::new(Vec::new());
        encoder.write_all(data).unwrap();
        encoder.into_inner().unwrap()
    }

    #[test]
    fn streams_padding_and_chunks_to_skip_are_one_stream() {
        let padding = [b"\xfe\x00\x00\x02".to_vec(), vec![7; 0x20000]].concat();
        let input = [snappy(b"a\nb"), padding, b"\x80\x03\0\0xyz\x81\0\0\0".to_vec(), snappy(b"c\nd\n")].concat();
        assert_eq!(lines(&input), (vec!["a".into(), "bc".into(), "d".into()], None));
        assert_eq!(lines(b"\xff\x06\0\0sNaPpY"), (vec![], None));
    }

    #[test]
    fn truncation_keeps_what_was_decoded_and_says_so() {
        let text = (0..50_000).map(|n| format!("line {n}\n")).collect::<String>();
        let whole = snappy(text.as_bytes());
        let (pieces, error) = lines(&whole[..whole.len() / 2]);
        assert!(pieces.len() > 1000, "{} pieces", pieces.len());
        assert_torn(&pieces, &text);
        assert_eq!(error, Some(Reason::Truncated { codec: CODEC }));
        assert_eq!(lines(&whole[..whole.len() - 1]).1, Some(Reason::Truncated { codec: CODEC }));
    }

    #[test]
    fn corruption_is_noticed() {
        let mut bad_checksum = snappy(b"hello\n");
        bad_checksum[14] ^= 1;
        let reserved = [snappy(b""), b"\xff\x06\0\0sNaPpY\x02\0\0\0".to_vec()].concat();
        let long = b"\xff\x06\0\0sNaPpY\x00\xff\xff\xff".to_vec();
        let no_stream = b"\xff\x06\0\0sNaPpY\xff\x06\0\0sNaPpX".to_vec();
        for input in [bad_checksum, reserved, long, no_stream] {
            let (pieces, error) = lines(&input);
            assert_eq!(pieces, [""; 0]);
            assert!(matches!(error, Some(Reason::Corrupt { .. })), "{error:?}");
        }
    }

    #[test]
    fn two_layers_are_unpacked_and_three_are_refused() {
        let twice = snappy(&snappy(b"a\nb\n"));
        assert_eq!(lines(&twice), (vec!["a".into(), "b".into()], None));
        assert_eq!(lines(&snappy(&twice)).1, Some(Reason::TooManyLayers));
        let large = snappy(&vec![b'x'; 65 * 1024 * 1024]);
        assert!(matches!(lines(&large).1, Some(Reason::TooLarge { .. })));
    }
}
