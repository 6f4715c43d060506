//! The lz4 frame format and its legacy form, pushed in and pushed out: concatenated frames, frames to skip, checksums.
//!
//! `lz4_flex` decodes by reading. It is given a frame's header and then one complete block at a time, so that it never
//! waits in the middle; a block is at most 4 MiB (8 MiB in the legacy form), and what is skipped is never collected.

use std::collections::VecDeque;
use std::io::BufRead;

use lz4_flex::frame::FrameDecoder;

use super::error::{Fault, Reason};
use super::part::{Part, number};

const CODEC: &str = "lz4";

const FRAME: u32 = 0x184d_2204;
const LEGACY: u32 = 0x184c_2102;
const SKIPPED: std::ops::RangeInclusive<u32> = 0x184d_2a50..=0x184d_2a5f;

const DICTIONARY: u8 = 0x01;
const CONTENT_CHECKSUM: u8 = 0x04;
const CONTENT_SIZE: u8 = 0x08;
const BLOCK_CHECKSUMS: u8 = 0x10;
/// In the length of a block: its bytes are stored as they are.
const STORED: u32 = 0x8000_0000;
const LEGACY_BLOCK: usize = 8 * 1024 * 1024;

pub(super) struct Unlz4 {
    decoder: FrameDecoder<VecDeque<u8>>,
    at: At,
    part: Part,
    frame: Frame,
    /// Bytes of the present block that the decoder still has to give.
    left: usize,
}

/// What the header of the present frame says about its blocks.
#[derive(Clone, Copy)]
struct Frame {
    max_block: usize,
    block_checksums: bool,
    content_checksum: bool,
    legacy: bool,
}

/// The part that is being collected.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Magic,
    Flags,
    Descriptor,
    Length,
    Block,
    EndChecksum,
    SkipLength,
    Skip { left: u32 },
}

impl Unlz4 {
    pub(super) fn new() -> Unlz4 {
        Unlz4 {
            decoder: FrameDecoder::new(VecDeque::new()),
            at: At::Magic,
            part: Part::new(4),
            frame: Frame { max_block: 0, block_checksums: false, content_checksum: false, legacy: false },
            left: 0,
        }
    }

    pub(super) fn fill(&mut self, input: &mut &[u8], slice: &mut [u8]) -> Result<usize, Fault> {
        while self.left == 0 && !input.is_empty() {
            if let At::Skip { left } = &mut self.at {
                let taken = input.len().min(*left as usize);
                *left -= taken as u32;
                *input = &input[taken..];
                if *left == 0 {
                    self.expect(At::Magic, 4);
                }
            } else if let Some(part) = self.part.take(input) {
                self.step(part)?;
            }
        }
        let given = self.left.min(slice.len());
        if given > 0 {
            let block = self.decoder.fill_buf().map_err(|error| corrupt(&error.to_string()))?;
            slice[..given].copy_from_slice(&block[..given]);
            self.decoder.consume(given);
            self.left -= given;
        }
        Ok(given)
    }

    pub(super) fn finish(&self) -> Result<(), Reason> {
        // A legacy frame has no end of its own.
        let between = self.at == At::Magic || (self.at == At::Length && self.frame.legacy);
        if between && self.part.is_empty() { Ok(()) } else { Err(Reason::Truncated { codec: CODEC }) }
    }

    fn expect(&mut self, at: At, need: usize) {
        self.at = at;
        self.part = Part::new(need);
    }

    fn step(&mut self, part: Vec<u8>) -> Result<(), Reason> {
        match self.at {
            At::Magic => return self.magic(&part),
            At::Flags => return self.flags(&part),
            At::Descriptor => {
                let code = part[0] >> 4 & 7;
                if code < 4 {
                    return Err(corrupt("the header of a frame has an invalid block size"));
                }
                self.frame.max_block = 1 << (8 + 2 * code);
                self.decoder.get_mut().extend(part);
                self.expect(At::Length, 4);
            }
            At::Length => return self.length(&part),
            At::Block => {
                self.decoder.get_mut().extend(part);
                self.expect(At::Length, 4);
            }
            At::EndChecksum => {
                self.decoder.get_mut().extend(part);
                self.expect(At::Magic, 4);
            }
            At::SkipLength => match number(&part) {
                0 => self.expect(At::Magic, 4),
                left => self.at = At::Skip { left },
            },
            At::Skip { .. } => unreachable!("skipped bytes are not collected"),
        }
        self.decode()
    }

    fn magic(&mut self, part: &[u8]) -> Result<(), Reason> {
        match number(part) {
            FRAME => {
                self.decoder.get_mut().extend(part);
                self.expect(At::Flags, 1);
            }
            LEGACY => {
                // The decoder cannot see where the legacy frame before this one ended.
                self.decoder = FrameDecoder::new(part.iter().copied().collect());
                self.frame =
                    Frame { max_block: LEGACY_BLOCK, block_checksums: false, content_checksum: false, legacy: true };
                self.expect(At::Length, 4);
            }
            magic if SKIPPED.contains(&magic) => self.expect(At::SkipLength, 4),
            _ => return Err(corrupt("other data follows the last frame")),
        }
        Ok(())
    }

    fn flags(&mut self, part: &[u8]) -> Result<(), Reason> {
        let flags = part[0];
        if flags & DICTIONARY != 0 {
            let (name, remedy) = ("lz4-compressed with a dictionary", "compress it without one");
            return Err(Reason::Container { name, remedy });
        }
        self.frame = Frame {
            max_block: 0,
            block_checksums: flags & BLOCK_CHECKSUMS != 0,
            content_checksum: flags & CONTENT_CHECKSUM != 0,
            legacy: false,
        };
        self.decoder.get_mut().extend(part);
        // The block size and the header's checksum, between them the length of the content.
        self.expect(At::Descriptor, if flags & CONTENT_SIZE != 0 { 10 } else { 2 });
        Ok(())
    }

    fn length(&mut self, part: &[u8]) -> Result<(), Reason> {
        let Frame { max_block, block_checksums, content_checksum, legacy } = self.frame;
        let number = number(part);
        if legacy && (number == FRAME || number == LEGACY || SKIPPED.contains(&number)) {
            self.decoder = FrameDecoder::new(VecDeque::new());
            return self.magic(part);
        }
        let length = (number & !STORED) as usize;
        if length > max_block || (length == 0 && (legacy || number != 0)) {
            return Err(corrupt("a block has a length that no block of its frame has"));
        }
        self.decoder.get_mut().extend(part);
        match length {
            0 if content_checksum => self.expect(At::EndChecksum, 4),
            0 => {
                self.expect(At::Magic, 4);
                return self.decode();
            }
            _ => self.expect(At::Block, length + if block_checksums { 4 } else { 0 }),
        }
        Ok(())
    }

    /// Lets the decoder read what it was given, which is complete.
    fn decode(&mut self) -> Result<(), Reason> {
        self.left = self.decoder.fill_buf().map_err(|error| corrupt(&error.to_string()))?.len();
        Ok(())
    }
}

fn corrupt(fault: &str) -> Reason {
    Reason::Corrupt { codec: CODEC, fault: fault.to_string() }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{BlockMode, FrameEncoder, FrameInfo};

    use super::*;
    use crate::decode::testing::lines;
    use crate::decode::torn::assert_torn;

    fn lz4_as(info: FrameInfo, data: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn lz4(data: &[u8]) -> Vec<u8> {
        lz4_as(FrameInfo::new().block_checksums(true).content_checksum(true), data)
    }

    fn legacy(blocks: &[&[u8]]) -> Vec<u8> {
        let mut frame = LEGACY.to_le_bytes().to_vec();
        for block in blocks {
            let packed = lz4_flex::block::compress(block);
            frame.extend_from_slice(&(packed.len() as u32).to_le_bytes());
            frame.extend_from_slice(&packed);
        }
        frame
    }

    #[test]
    fn frames_of_every_kind_are_one_stream() {
        let input = [
            lz4(b"a\nb"),
            lz4_as(FrameInfo::new(), b""),
            b"\x5f\x2a\x4d\x18\x03\0\0\0xyz\x50\x2a\x4d\x18\0\0\0\0".to_vec(),
            legacy(&[b"c", b"\n"]),
            legacy(&[b"d"]),
            lz4_as(FrameInfo::new().content_size(Some(2)), b"e\n"),
            legacy(&[b"f"]),
        ];
        assert_eq!(lines(&input.concat()), (vec!["a".into(), "bc".into(), "de".into(), "f".into()], None));
        assert_eq!(lines(&lz4(b"")), (vec![], None));
    }

    #[test]
    fn linked_and_independent_blocks_give_the_same() {
        let text = (0..200_000).map(|n| format!("line {n}\n")).collect::<String>();
        for mode in [BlockMode::Linked, BlockMode::Independent] {
            let (pieces, error) = lines(&lz4_as(FrameInfo::new().block_mode(mode), text.as_bytes()));
            assert_eq!(error, None);
            assert_eq!(pieces.join("\n") + "\n", text);
        }
    }

    #[test]
    fn truncation_keeps_what_was_decoded_and_says_so() {
        let text = (0..50_000).map(|n| format!("line {n}\n")).collect::<String>();
        let info = FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max64KB);
        let whole = lz4_as(info, text.as_bytes());
        let (pieces, error) = lines(&whole[..whole.len() / 2]);
        assert!(pieces.len() > 1000, "{} pieces", pieces.len());
        assert_torn(&pieces, &text);
        assert_eq!(error, Some(Reason::Truncated { codec: CODEC }));
        assert_eq!(lines(&whole[..whole.len() - 1]).1, Some(Reason::Truncated { codec: CODEC }));
        let old = legacy(&[b"a\n", b"b\n"]);
        assert_eq!(lines(&old[..old.len() - 1]), (vec!["a".into()], Some(Reason::Truncated { codec: CODEC })));
    }

    #[test]
    fn corruption_is_noticed() {
        let mut bad_content = lz4_as(FrameInfo::new().content_checksum(true), b"hello\n");
        *bad_content.last_mut().unwrap() ^= 1;
        let garbage = [lz4(b"hello\n"), b"trailing".to_vec()].concat();
        for input in [bad_content, garbage] {
            let (pieces, error) = lines(&input);
            assert_eq!(pieces, ["hello"]);
            assert!(matches!(error, Some(Reason::Corrupt { .. })), "{error:?}");
        }
        for at in [5, 6, 10, 13] {
            let mut bad = lz4(b"hello\n");
            bad[at] ^= 0x71;
            assert!(matches!(lines(&bad), (pieces, Some(Reason::Corrupt { .. })) if pieces.is_empty()), "at {at}");
        }
        let dictionary = b"\x04\x22\x4d\x18\x61\x40\0\0\0\0\0";
        assert!(matches!(lines(dictionary).1, Some(Reason::Container { .. })));
    }

    #[test]
    fn two_layers_are_unpacked_and_three_are_refused() {
        let twice = lz4(&lz4(b"a\nb\n"));
        assert_eq!(lines(&twice), (vec!["a".into(), "b".into()], None));
        assert_eq!(lines(&lz4(&twice)).1, Some(Reason::TooManyLayers));
        let large = lz4(&vec![b'x'; 65 * 1024 * 1024]);
        assert!(matches!(lines(&large).1, Some(Reason::TooLarge { .. })));
    }
}
