//! bzip2, pushed in and pushed out: concatenated streams, empty ones among them.
//!
//! The checksums of blocks and streams are checked. A decoder holds less than 4 MB, whatever the object.

use bzip2::{Decompress, Status};

use super::error::{Fault, Reason};

const CODEC: &str = "bzip2";

pub(super) struct Bunzip2 {
    /// None after a complete stream: another one, or the end.
    stream: Option<Decompress>,
}

impl Bunzip2 {
    pub(super) fn new() -> Bunzip2 {
        Bunzip2 { stream: Some(Decompress::new(false)) }
    }

    pub(super) fn fill(&mut self, input: &mut &[u8], slice: &mut [u8]) -> Result<usize, Fault> {
        loop {
            if input.is_empty() && self.stream.is_none() {
                return Ok(0);
            }
            let stream = self.stream.get_or_insert_with(|| Decompress::new(false));
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let status = stream.decompress(input, slice);
            let taken = (stream.total_in() - before_in) as usize;
            let given = (stream.total_out() - before_out) as usize;
            *input = &input[taken..];
            match status {
                Ok(Status::StreamEnd) => self.stream = None,
                Ok(_) if taken == 0 && given == 0 && !input.is_empty() => {
                    return Err(corrupt("the stream makes no progress").into());
                }
                Ok(_) => {}
                Err(bzip2::Error::DataMagic) => {
                    return Err(Fault { given, reason: corrupt("no stream begins where one has to") });
                }
                Err(_) => return Err(Fault { given, reason: corrupt("a block or its checksum is invalid") }),
            }
            if given > 0 || input.is_empty() {
                return Ok(given);
            }
        }
    }

    pub(super) fn finish(&self) -> Result<(), Reason> {
        if self.stream.is_none() { Ok(()) } else { Err(Reason::Truncated { codec: CODEC }) }
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
    use crate::decode::testing::lines;
    use crate::decode::torn::assert_torn;

    fn bzip2(data: &[u8]) -> Vec<u8> {
        let mut encoder = BzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
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
        assert_torn(&pieces, &text);
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
    fn two_layers_are_unpacked_and_three_are_refused() {
        let twice = bzip2(&bzip2(b"a\nb\n"));
        assert_eq!(lines(&twice), (vec!["a".into(), "b".into()], None));
        assert_eq!(lines(&bzip2(&twice)).1, Some(Reason::TooManyLayers));
        let large = bzip2(&vec![b'x'; 65 * 1024 * 1024]);
        assert!(matches!(lines(&large).1, Some(Reason::TooLarge { .. })));
    }
}
