//! What the first bytes of an object say about its container. Names and extensions are never asked.

use super::error::Reason;

pub(super) enum Container {
    Packed(Codec),
    Parquet,
    /// Not compressed, or in no form that has a magic.
    Plain,
}

/// The compressions that are unpacked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Codec {
    Gzip,
    Zstd,
    Bzip2,
    Snappy,
    Lz4,
}

impl Codec {
    pub(super) fn name(self) -> &'static str {
        match self {
            Codec::Gzip => "gzip",
            Codec::Zstd => "zstd",
            Codec::Bzip2 => "bzip2",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
        }
    }
}

/// Enough bytes for every magic below (tar has its own at 257).
pub(super) const HEAD: usize = 4096;

struct Magic {
    offset: usize,
    bytes: &'static [u8],
    name: &'static str,
    remedy: &'static str,
}

const RECOMPRESS: &str = "store it with gzip or zstd, or uncompressed";
const UNPACK: &str = "store the files in it as objects of their own";
const AS_TEXT: &str = "store the records as text, one JSON value a line";

/// Recognised in order to be refused with a name; as text they would become garbage records.
const REFUSED: &[Magic] = &[
    Magic { offset: 0, bytes: &[0xfd, b'7', b'z', b'X', b'Z', 0], name: "xz-compressed", remedy: RECOMPRESS },
    Magic { offset: 0, bytes: b"7z\xbc\xaf\x27\x1c", name: "a 7z archive", remedy: UNPACK },
    Magic { offset: 0, bytes: b"PK\x03\x04", name: "a zip archive", remedy: UNPACK },
    Magic { offset: 0, bytes: b"PK\x05\x06", name: "a zip archive", remedy: UNPACK },
    Magic { offset: 257, bytes: b"ustar", name: "a tar archive", remedy: UNPACK },
    Magic { offset: 0, bytes: b"Obj\x01", name: "an Avro file", remedy: AS_TEXT },
];

pub(super) fn container(head: &[u8]) -> Result<Container, Reason> {
    if let Some(codec) = codec(head) {
        return Ok(Container::Packed(codec));
    }
    if head.starts_with(b"PAR1") {
        return Ok(Container::Parquet);
    }
    let found = REFUSED.iter().find(|magic| head.get(magic.offset..).is_some_and(|rest| rest.starts_with(magic.bytes)));
    match found {
        Some(magic) => Err(Reason::Container { name: magic.name, remedy: magic.remedy }),
        None => Ok(Container::Plain),
    }
}

fn codec(head: &[u8]) -> Option<Codec> {
    match head {
        [0x1f, 0x8b, 0x08, ..] => Some(Codec::Gzip),
        // The second is a frame to skip, which lz4 has too; no lz4 tool writes one first.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Codec::Zstd),
        // "BZh" alone may begin a text; the first block, or the end of an empty stream, makes it certain.
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
        | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => Some(Codec::Bzip2),
        [0xff, 6, 0, 0, b's', b'N', b'a', b'P', b'p', b'Y', ..] => Some(Codec::Snappy),
        [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => Some(Codec::Lz4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refused_container_is_named() {
        for magic in REFUSED {
            let mut head = vec![b'x'; magic.offset];
            head.extend_from_slice(magic.bytes);
            let Err(Reason::Container { name, .. }) = container(&head) else { panic!("{} passes", magic.name) };
            assert_eq!(name, magic.name);
        }
    }

    #[test]
    fn every_codec_is_known_by_its_first_bytes() {
        for (head, codec) in [
            (&b"\x1f\x8b\x08"[..], Codec::Gzip),
            (b"\x28\xb5\x2f\xfd", Codec::Zstd),
            (b"\x5a\x2a\x4d\x18", Codec::Zstd),
            (b"BZh11AY&SY", Codec::Bzip2),
            (b"BZh9\x17\x72\x45\x38\x50\x90", Codec::Bzip2),
            (b"\xff\x06\x00\x00sNaPpY", Codec::Snappy),
            (b"\x04\x22\x4d\x18", Codec::Lz4),
            (b"\x02\x21\x4c\x18", Codec::Lz4),
        ] {
            let Ok(Container::Packed(found)) = container(head) else { panic!("{codec:?} is not known") };
            assert_eq!(found, codec);
        }
    }

    #[test]
    fn a_parquet_file_is_known_by_its_first_bytes() {
        assert!(matches!(container(b"PAR1\x15\x04"), Ok(Container::Parquet)));
    }

    #[test]
    fn text_that_looks_a_little_like_a_magic_is_text() {
        for text in [&b"BZh is a word"[..], b"PK", b"PARTIAL", b"\x1f\x8b", b"", b"x*M\x18"] {
            assert!(matches!(container(text), Ok(Container::Plain)), "{text:?}");
        }
    }
}
