//! zstd (RFC 8878), pushed in and pushed out: concatenated frames, frames to skip, checksums where a frame has one.
//!
//! A frame announces the window that its decoding needs; one above 128 MiB is refused, and so is one that needs a
//! dictionary. The library is the C one: ruzstd, in Rust, refuses windows above 100 MiB.

use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

use super::error::{Reason, Sink};

const CODEC: &str = "zstd";
const SLICE: usize = 64 * 1024;
/// The base-2 logarithm of the largest window.
const WINDOW_LOG: u32 = 27;

/// Numbers of errors, which zstd keeps stable.
const WINDOW_TOO_LARGE: usize = 16;
const DICTIONARY_WRONG: usize = 32;

pub(super) struct Unzstd {
    context: DCtx<'static>,
    slice: Box<[u8]>,
    /// The input so far ends with a frame.
    complete: bool,
}

impl Unzstd {
    pub(super) fn new() -> Result<Unzstd, Reason> {
        let mut context = DCtx::create();
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(fault)?;
        Ok(Unzstd { context, slice: vec![0; SLICE].into(), complete: false })
    }

    pub(super) fn push(&mut self, mut bytes: &[u8], sink: Sink<'_>) -> Result<(), Reason> {
        // Asked without input after a frame, the library would begin to wait for the next one.
        if bytes.is_empty() {
            return Ok(());
        }
        loop {
            let mut input = InBuffer::around(bytes);
            let mut output = OutBuffer::around(&mut self.slice[..]);
            let expected = self.context.decompress_stream(&mut output, &mut input).map_err(fault)?;
            let (taken, given) = (input.pos, output.pos());
            bytes = &bytes[taken..];
            self.complete = expected == 0;
            if given > 0 {
                sink(&self.slice[..given])?;
            }
            // A full slice may hide more output that needs no further input.
            if bytes.is_empty() && (self.complete || given < SLICE) {
                return Ok(());
            }
        }
    }

    pub(super) fn finish(&self) -> Result<(), Reason> {
        if self.complete { Ok(()) } else { Err(Reason::Truncated { codec: CODEC }) }
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
    use crate::decode::testing::decode;
    use crate::model::StreamType;

    fn zstd(data: &[u8]) -> Vec<u8> {
        let mut context = CCtx::create();
        context.set_parameter(CParameter::ChecksumFlag(true)).unwrap();
        let mut packed = vec![0; compress_bound(data.len())];
        let length = context.compress2(&mut packed[..], data).unwrap();
        packed.truncate(length);
        packed
    }

    fn lines(input: &[u8]) -> (Vec<String>, Option<Reason>) {
        let (pieces, error) = decode(StreamType::Lines, "", input);
        (pieces, error.map(|error| error.reason))
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
    fn layers_and_bombs_end_early() {
        let twice = zstd(&zstd(b"a\nb\n"));
        assert_eq!(lines(&twice), (vec!["a".into(), "b".into()], None));
        assert_eq!(lines(&zstd(&twice)).1, Some(Reason::TooManyLayers));
        let zeros = zstd(&vec![b'0'; 60 * 1024 * 1024]);
        assert!(matches!(lines(&zeros).1, Some(Reason::Bomb { .. })));
    }
}
