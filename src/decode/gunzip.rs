//! gzip (RFC 1952), pushed in and pushed out: many members, empty members, zero padding after the last one.
//!
//! Length and CRC of every member are checked.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::error::{Fault, Reason};

const CODEC: &str = "gzip";

pub(super) struct Gunzip {
    state: State,
    inflate: Decompress,
    crc: Crc,
}

enum State {
    Header(Header),
    Body,
    Trailer {
        bytes: [u8; 8],
        have: usize,
    },
    /// After a complete member: another one, padding, or the end.
    Between,
    Padding,
}

/// The parts of a member's header, in the order of the format.
enum Header {
    Fixed { have: usize, flags: u8 },
    ExtraLength { have: usize, length: usize, flags: u8 },
    Extra { left: usize, flags: u8 },
    Text { left: u8, flags: u8 },
    Checksum { left: usize },
}

const HCRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

impl Gunzip {
    pub(super) fn new() -> Gunzip {
        Gunzip {
            state: State::Header(Header::Fixed { have: 0, flags: 0 }),
            inflate: Decompress::new(false),
            crc: Crc::new(),
        }
    }

    pub(super) fn fill(&mut self, input: &mut &[u8], slice: &mut [u8]) -> Result<usize, Fault> {
        loop {
            if let State::Body = self.state {
                let given = self.inflate(input, slice)?;
                // In the body all input is taken, so that more output can only come of more input.
                if given > 0 || matches!(self.state, State::Body) {
                    return Ok(given);
                }
            }
            let Some((&byte, rest)) = input.split_first() else { return Ok(0) };
            *input = rest;
            match &mut self.state {
                State::Header(header) => {
                    if header.step(byte)? {
                        self.inflate.reset(false);
                        self.crc.reset();
                        self.state = State::Body;
                    }
                }
                State::Trailer { bytes, have } => {
                    bytes[*have] = byte;
                    *have += 1;
                    if *have == bytes.len() {
                        let bytes = *bytes;
                        self.check(bytes)?;
                        self.state = State::Between;
                    }
                }
                State::Between if byte == 0x1f => {
                    self.state = State::Header(Header::Fixed { have: 1, flags: 0 });
                }
                State::Between | State::Padding if byte == 0 => self.state = State::Padding,
                State::Between | State::Padding => {
                    return Err(corrupt("other data follows the last member".into()).into());
                }
                State::Body => unreachable!("handled above"),
            }
        }
    }

    pub(super) fn finish(&self) -> Result<(), Reason> {
        match self.state {
            State::Between | State::Padding => Ok(()),
            _ => Err(Reason::Truncated { codec: CODEC }),
        }
    }

    /// Inflates until there is output, the input is used up or the member ends.
    fn inflate(&mut self, input: &mut &[u8], slice: &mut [u8]) -> Result<usize, Fault> {
        loop {
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(input, slice, FlushDecompress::None);
            let taken = (self.inflate.total_in() - before_in) as usize;
            let given = (self.inflate.total_out() - before_out) as usize;
            *input = &input[taken..];
            self.crc.update(&slice[..given]);
            match status {
                Ok(Status::StreamEnd) => {
                    self.state = State::Trailer { bytes: [0; 8], have: 0 };
                    return Ok(given);
                }
                Ok(_) if given > 0 || input.is_empty() => return Ok(given),
                Ok(_) if taken == 0 => return Err(corrupt("the deflate data makes no progress".into()).into()),
                Ok(_) => {}
                Err(error) => {
                    let reason = corrupt(format!("the deflate data is invalid ({error})"));
                    return Err(Fault { given, reason });
                }
            }
        }
    }

    fn check(&self, trailer: [u8; 8]) -> Result<(), Reason> {
        let [a, b, c, d, e, f, g, h] = trailer;
        if u32::from_le_bytes([a, b, c, d]) != self.crc.sum() {
            return Err(corrupt("the checksum of a member does not match".into()));
        }
        if u32::from_le_bytes([e, f, g, h]) != self.crc.amount() {
            return Err(corrupt("the length of a member does not match".into()));
        }
        Ok(())
    }
}

impl Header {
    /// Takes one byte; true when the header is complete.
    fn step(&mut self, byte: u8) -> Result<bool, Reason> {
        match self {
            Header::Fixed { have, flags } => {
                match (*have, byte) {
                    (0, 0x1f) | (1, 0x8b) | (2, 8) | (4.., _) => {}
                    (3, _) if byte & RESERVED == 0 => *flags = byte,
                    (3, _) => return Err(corrupt("a member header has reserved flags".into())),
                    _ => return Err(corrupt("other data follows the last member".into())),
                }
                *have += 1;
                if *have == 10 {
                    let flags = *flags;
                    return Ok(self.enter(flags));
                }
            }
            Header::ExtraLength { have, length, flags } => {
                *length |= usize::from(byte) << (8 * *have);
                *have += 1;
                if *have == 2 {
                    *self = Header::Extra { left: *length, flags: *flags };
                    return Ok(self.skip_empty_extra());
                }
            }
            Header::Extra { left, .. } => {
                *left -= 1;
                return Ok(self.skip_empty_extra());
            }
            Header::Text { left, flags } => {
                if byte == 0 {
                    *left -= 1;
                }
                if *left == 0 {
                    let flags = *flags & HCRC;
                    return Ok(self.enter(flags));
                }
            }
            Header::Checksum { left } => {
                *left -= 1;
                return Ok(*left == 0);
            }
        }
        Ok(false)
    }

    fn skip_empty_extra(&mut self) -> bool {
        match self {
            Header::Extra { left: 0, flags } => {
                let flags = *flags & !EXTRA;
                self.enter(flags)
            }
            _ => false,
        }
    }

    /// Goes to the next part that the flags announce; true when there is none.
    fn enter(&mut self, flags: u8) -> bool {
        let texts = u8::from(flags & NAME != 0) + u8::from(flags & COMMENT != 0);
        *self = if flags & EXTRA != 0 {
            Header::ExtraLength { have: 0, length: 0, flags }
        } else if texts > 0 {
            Header::Text { left: texts, flags }
        } else if flags & HCRC != 0 {
            Header::Checksum { left: 2 }
        } else {
            return true;
        };
        false
    }
}

fn corrupt(fault: String) -> Reason {
    Reason::Corrupt { codec: CODEC, fault }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::decode::testing::lines;
    use crate::decode::torn::assert_torn;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_empty_members_and_padding_are_one_stream() {
        let input = [gzip(b"a\nb"), gzip(b""), gzip(b"c\nd\n"), vec![0; 700]].concat();
        assert_eq!(lines(&input), (vec!["a".into(), "bc".into(), "d".into()], None));
        assert_eq!(lines(&gzip(b"")), (vec![], None));
    }

    #[test]
    fn every_optional_header_part_is_skipped() {
        let plain = gzip(b"x");
        let mut input = plain[..10].to_vec();
        input[3] = EXTRA | NAME | COMMENT | HCRC;
        input.extend_from_slice(b"\x03\x00abcname\0comment\0hc");
        input.extend_from_slice(&plain[10..]);
        assert_eq!(lines(&input), (vec!["x".into()], None));
    }

    #[test]
    fn truncation_keeps_what_was_decoded_and_says_so() {
        let text = (0..20_000).map(|n| format!("line {n}\n")).collect::<String>();
        let whole = gzip(text.as_bytes());
        let (pieces, error) = lines(&whole[..whole.len() / 2]);
        assert!(pieces.len() > 1000, "{} pieces", pieces.len());
        assert_torn(&pieces, &text);
        assert_eq!(error, Some(Reason::Truncated { codec: CODEC }));
        assert_eq!(lines(&whole[..whole.len() - 1]).1, Some(Reason::Truncated { codec: CODEC }));
        assert_eq!(lines(&whole[..5]).1, Some(Reason::Truncated { codec: CODEC }));
    }

    #[test]
    fn corruption_is_noticed() {
        let mut bad_crc = gzip(b"hello\n");
        let at = bad_crc.len() - 8;
        bad_crc[at] ^= 1;
        let mut bad_length = gzip(b"hello\n");
        *bad_length.last_mut().unwrap() ^= 1;
        let garbage = [gzip(b"hello\n"), b"trailing".to_vec()].concat();
        let after_padding = [gzip(b"hello\n"), vec![0, 0, 7]].concat();
        for input in [bad_crc, bad_length, garbage, after_padding] {
            let (pieces, error) = lines(&input);
            assert_eq!(pieces, ["hello"]);
            assert!(matches!(error, Some(Reason::Corrupt { .. })), "{error:?}");
        }
    }

    #[test]
    fn two_layers_are_unpacked_and_three_are_refused() {
        let twice = gzip(&gzip(b"a\nb\n"));
        assert_eq!(lines(&twice), (vec!["a".into(), "b".into()], None));
        assert_eq!(lines(&gzip(&twice)).1, Some(Reason::TooManyLayers));
    }

    #[test]
    fn what_is_larger_than_allowed_ends_early() {
        let large = gzip(&gzip(&vec![b'x'; 65 * 1024 * 1024]));
        assert!(matches!(lines(&large).1, Some(Reason::TooLarge { .. })));
    }
}
