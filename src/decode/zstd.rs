//! zstd (RFC 8878), pushed in and pushed out: concatenated frames, frames to skip, checksums where a frame has one.
//!
//! A frame announces the window that its decoding needs. One above 8 MiB waits until the caller has allowed it; one
//! above 128 MiB is refused, and so is a frame that needs a dictionary. The library is the C one: ruzstd, in Rust,
//! refuses windows above 100 MiB.

use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name};

use super::error::{Fault, Reason};

const CODEC: &str = "zstd";
/// The base-2 logarithm of the largest window that needs no permission, and of the largest of all.
const WINDOW_LOG: u32 = 23;
const LARGE_WINDOW_LOG: u32 = 27;
/// The longest header of a frame, and the header of a block.
const FRAME_HEADER: usize = 18;
const BLOCK_HEADER: usize = 3;

/// Numbers of errors, which zstd keeps stable.
const WINDOW_TOO_LARGE: usize = 16;
const DICTIONARY_WRONG: usize = 32;

pub(super) struct Unzstd {
    context: DCtx<'static>,
    /// The first bytes of the present frame, to begin it again with a larger window.
    header: Vec<u8>,
    /// The bytes to the end of the present part of the frame and the header of the next.
    wanted: usize,
    /// The input so far ends with a frame.
    complete: bool,
    /// The last slice was filled in the middle of a frame: there may be more output.
    full: bool,
    /// It stands behind the header of a frame that needs a large window.
    waits: bool,
    large_windows: bool,
    /// The library knows that large windows are allowed.
    raised: bool,
}

impl Unzstd {
    pub(super) fn new(large_windows: bool) -> Result<Unzstd, Reason> {
        let mut context = DCtx::create();
        let log = if large_windows { LARGE_WINDOW_LOG } else { WINDOW_LOG };
        context.set_parameter(DParameter::WindowLogMax(log)).map_err(fault)?;
        Ok(Unzstd {
            context,
            header: Vec::new(),
            wanted: 0,
            complete: false,
            full: false,
            waits: false,
            large_windows,
            raised: large_windows,
        })
    }

    pub(super) fn fill(&mut self, input: &mut &[u8], slice: &mut [u8]) -> Result<usize, Fault> {
        loop {
            if self.waits {
                if !self.large_windows {
                    return Ok(0);
                }
                self.begin_again()?;
            }
            // Asked without need, the library would begin to wait for the next frame, or complain.
            if input.is_empty() && !self.full {
                return Ok(0);
            }
            // No more than one part at a time, so that what was unpacked leaves before the fault of a later part.
            let part = self.wanted.saturating_sub(BLOCK_HEADER).max(1).min(input.len());
            let (given, taken) = match self.decompress(&input[..part], slice) {
                Ok(done) => done,
                Err(code) if code.wrapping_neg() == WINDOW_TOO_LARGE && !self.raised => {
                    self.remember(&input[..part]);
                    *input = &input[part..];
                    self.waits = true;
                    continue;
                }
                Err(code) => return Err(fault(code).into()),
            };
            if self.complete {
                self.header.clear();
            } else {
                self.remember(&input[..taken]);
            }
            *input = &input[taken..];
            self.full = given == slice.len() && !self.complete;
            if given > 0 {
                return Ok(given);
            }
        }
    }

    /// Whether it needs a large window to go on.
    pub(super) fn waits(&self) -> bool {
        self.waits && !self.large_windows
    }

    pub(super) fn allow_large_windows(&mut self) {
        self.large_windows = true;
    }

    pub(super) fn finish(&self) -> Result<(), Reason> {
        if self.complete { Ok(()) } else { Err(Reason::Truncated { codec: CODEC }) }
    }

    /// Begins the frame that waited.
    fn begin_again(&mut self) -> Result<(), Reason> {
        self.waits = false;
        self.raised = true;
        self.context.reset(ResetDirective::SessionOnly).map_err(fault)?;
        self.context.set_parameter(DParameter::WindowLogMax(LARGE_WINDOW_LOG)).map_err(fault)?;
        let header = self.header.clone();
        // A header alone has no output.
        self.decompress(&header, &mut []).map(|_| ()).map_err(fault)
    }

    fn decompress(&mut self, input: &[u8], slice: &mut [u8]) -> Result<(usize, usize), usize> {
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around(slice);
        self.wanted = self.context.decompress_stream(&mut output, &mut input)?;
        self.complete = self.wanted == 0;
        Ok((output.pos(), input.pos))
    }

    fn remember(&mut self, bytes: &[u8]) {
        let room = FRAME_HEADER - self.header.len();
        self.header.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }
}

fn fault(code: usize) -> Reason {
    match code.wrapping_neg() {
        WINDOW_TOO_LARGE => Reason::Container {
            name: "zstd-compressed with a window above 128 MiB",
            remedy: "compress it with `--long=27` or less",
        },
        DICTIONARY_WRONG => {
            Reason::Container { name: "zstd-compressed with a dictionary", remedy: "compress it without one" }
        }
        _ => Reason::Corrupt { codec: CODEC, fault: get_error_name(code).to_lowercase() },
    }
}

#[cfg(test)]
mod tests {
    use zstd_safe::{CCtx, CParameter, compress_bound};

    use super::*;
    use crate::decode::testing::lines;
    use crate::decode::torn::assert_torn;

    fn zstd(data: &[u8]) -> Vec<u8> {
        let mut context = CCtx::create();
        context.set_parameter(CParameter::ChecksumFlag(true)).unwrap();
        let mut packed = vec![0; compress_bound(data.len())];
        let length = context.compress2(&mut packed[..], data).unwrap();
        packed.truncate(length);
        packed
    }

    const SKIPPED: &[u8] = b"\x53\x2a\x4d\x18\x05\0\0\0skip\n";

    #[test]
    fn frames_empty_frames_and_frames_to_skip_are_one_stream() {
        let input = [SKIPPED, &zstd(b"a\nb"), &zstd(b""), SKIPPED, &zstd(b"c\nd\n"), SKIPPED].concat();
        assert_eq!(lines(&input), (vec!["a".into(), "bc".into(), "d".into()], None));
        assert_eq!(lines(&zstd(b"")), (vec![], None));
    }

    #[test]
    fn truncation_keeps_what_was_decoded_and_says_so() {
        let text = (0..200_000).map(|n| format!("line {n}\n")).collect::<String>();
        let whole = zstd(text.as_bytes());
        let (pieces, error) = lines(&whole[..whole.len() / 2]);
        assert!(pieces.len() > 1000, "{} pieces", pieces.len());
        assert_torn(&pieces, &text);
        assert_eq!(error, Some(Reason::Truncated { codec: CODEC }));
        assert_eq!(lines(&whole[..whole.len() - 1]).1, Some(Reason::Truncated { codec: CODEC }));
        assert_eq!(lines(&whole[..5]).1, Some(Reason::Truncated { codec: CODEC }));
    }

    #[test]
    fn corruption_is_noticed() {
        let mut bad_checksum = zstd(b"hello\n");
        *bad_checksum.last_mut().unwrap() ^= 1;
        let garbage = [zstd(b"hello\n"), b"trailing".to_vec()].concat();
        for input in [bad_checksum, garbage] {
            let (pieces, error) = lines(&input);
            // The checksum fails before the library hands out the last block.
            assert!(pieces.is_empty() || pieces == ["hello"], "{pieces:?}");
            assert!(matches!(error, Some(Reason::Corrupt { .. })), "{error:?}");
        }
    }

    #[test]
    fn windows_and_dictionaries_beyond_the_rules_are_refused_by_name() {
        // Frame headers of RFC 8878: magic, descriptor, window, dictionary id; then one empty last block.
        let window = |log: u8| [b"\x28\xb5\x2f\xfd\x00".as_slice(), &[(log - 10) << 3], b"\x01\0\0"].concat();
        let dictionary = b"\x28\xb5\x2f\xfd\x01\x00\x07\x01\0\0";
        assert_eq!(lines(&window(27)), (vec![], None));
        for (input, word) in [(&window(28)[..], "window"), (dictionary, "dictionary")] {
            let Some(Reason::Container { name, .. }) = lines(input).1 else { panic!("{word} passes") };
            assert!(name.contains(word), "{name}");
        }
    }

    #[test]
    fn two_layers_are_unpacked_and_three_are_refused() {
        let twice = zstd(&zstd(b"a\nb\n"));
        assert_eq!(lines(&twice), (vec!["a".into(), "b".into()], None));
        assert_eq!(lines(&zstd(&twice)).1, Some(Reason::TooManyLayers));
        let large = zstd(&vec![b'x'; 65 * 1024 * 1024]);
        assert!(matches!(lines(&large).1, Some(Reason::TooLarge { .. })));
    }
}
