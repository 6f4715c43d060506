//! bzip2, pushed in and pushed out: concatenated streams, empty ones among them.
//!
//! The checksums of blocks and streams are checked. A decoder holds less than 4 MB, whatever the object.

use bzip2::{Decompress, Status};

use super::error::{Reason, Sink};

const CODEC: &str = "bzip2";
const SLICE: usize = 64 * 1024;

pub(super) struct Bunzip2 {
    /// None after a complete stream: another one, or the end.
    stream: Option<Decompress>,
    slice: Box<[u8]>,
}

impl Bunzip2 {
    pub(super) fn new() -> Bunzip2 {
        Bunzip2 { stream: Some(Decompress::new(false)), slice: vec![0; SLICE].into() }
    }

    pub(super) fn push(&mut self, mut input: &[u8], sink: Sink<'_>) -> Result<(), Reason> {
        while !input.is_empty() {
            input = self.decompress(input, sink)?;
        }
        Ok(())
    }

    pub(super) fn finish(&self) -> Result<(), Reason> {
        if self.stream.is_none() { Ok(()) } else { Err(Reason::Truncated { codec: CODEC }) }
    }

    /// Decompresses until the input is used up or the stream ends; returns what the stream did not need.
    fn decompress<'a>(&mut self, mut input: &'a [u8], sink: Sink<'_>) -> Result<&'a [u8], Reason> {
        let stream = self.stream.get_or_insert_with(|| Decompress::new(false));
        loop {
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let status = match stream.decompress(input, &mut self.slice) {
                Ok(status) => status,
                Err(bzip2::Error::DataMagic) => return Err(corrupt("no stream begins where one has to")),
                Err(_) => return Err(corrupt("a block or its checksum is invalid")),
            };
            let taken = (stream.total_in() - before_in) as usize;
            let given = (stream.total_out() - before_out) as usize;
            input = &input[taken..];
            if given > 0 {
                sink(&self.slice[..given])?;
            }
            if status == Status::StreamEnd {
                self.stream = None;
                return Ok(input);
            }
            // A full slice may hide more output that needs no further input.
            if input.is_empty() && given < SLICE {
                return Ok(input);
            }
            if taken == 0 && given == 0 {
                return Err(corrupt("the stream makes no progress"));
            }
        }
    }
}

fn corrupt(fault: &str) -> Reason {
    Reason::Corrupt { codec: CODEC, fault: fault.to_string() }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use bzip2::Compression;
    use bzip2::write::BzEncoder;

    use super::*;
    use crate::decode::testing::decode;
    use crate::model::StreamType;

    fn bzip2(data: &[u8]) -> Vec<u8> {
        let mut encoder = BzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn lines(input: &[u8]) -> (Vec<String>, Option<Reason>) {
        let (pieces, error) = decode(StreamType::Lines, "", input);
        (pieces, error.map(|error| error.reason))
    }

    #[test]
    fn streams_and_empty_streams_are_one() {
        let input = [bzip2(b"a\nb"), bzip2(b""), bzip2(b"c\nd\n")].concat();
        assert_eq!(lines(&input), (vec!["a".into(), "bc".into(), "d".into()], None));
        assert_eq!(lines(&bzip2(b"")), (vec![], None));
    }

    #[test]
    fn truncation_keeps_what_was_decoded_and_says_so() {
        let text = (0..100_000).map(|n| format!("line {n}\n")).collect::<String>();
        let whole = bzip2(text.as_bytes());
        let (pieces, error) = lines(&whole[..whole.len() / 2]);
        assert!(pieces.len() > 1000, "{} pieces", pieces.len());
        assert_eq!(error, Some(Reason::Truncated { codec: CODEC }));
        assert_eq!(lines(&whole[..whole.len() - 1]).1, Some(Reason::Truncated { codec: CODEC }));
    }

    #[test]
    fn corruption_is_noticed() {
        let mut bad_block = bzip2(b"hello\n");
        bad_block[10] ^= 1;
        let garbage = [bzip2(b"hello\n"), b"trailing".to_vec()].concat();
        for (input, expected) in [(bad_block, 0), (garbage, 1)] {
            let (pieces, error) = lines(&input);
            assert!(matches!(error, Some(Reason::Corrupt { .. })), "{error:?}");
            assert!(pieces.len() >= expected, "{pieces:?}");
        }
    }

    #[test]
    fn layers_and_bombs_end_early() {
        let twice = bzip2(&bzip2(b"a\nb\n"));
        assert_eq!(lines(&twice), (vec!["a".into(), "b".into()], None));
        assert_eq!(lines(&bzip2(&twice)).1, Some(Reason::TooManyLayers));
        let zeros = bzip2(&vec![b'0'; 40 * 1024 * 1024]);
        assert!(matches!(lines(&zeros).1, Some(Reason::Bomb { .. })));
    }
}
