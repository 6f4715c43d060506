//! What the first bytes of an object say about its container. Names and extensions are never asked.

use super::error::Reason;

pub(super) enum Container {
    Gzip,
    /// Not compressed, or in no form that has a magic.
    Plain,
}

/// Enough bytes for every magic below (tar has its own at 257).
pub(super) const HEAD: usize = 4096;

struct Magic {
    offset: usize,
    bytes: &'static [u8],
    name: &'static str,
    remedy: &'static str,
}

const RECOMPRESS: &str = "store it with gzip or uncompressed";
const UNPACK: &str = "store the files in it as objects of their own";
const AS_TEXT: &str = "store the records as text, one JSON value a line";

/// Recognised in order to be refused with a name; as text they would become garbage records.
const REFUSED: &[Magic] = &[
    Magic { offset: 0, bytes: &[0x28, 0xb5, 0x2f, 0xfd], name: "zstd-compressed", remedy: RECOMPRESS },
    Magic { offset: 1, bytes: &[0x2a, 0x4d, 0x18], name: "zstd-compressed", remedy: RECOMPRESS },
    Magic { offset: 4, bytes: &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], name: "bzip2-compressed", remedy: RECOMPRESS },
    Magic { offset: 4, bytes: &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90], name: "bzip2-compressed", remedy: RECOMPRESS },
    Magic { offset: 0, bytes: b"\xff\x06\x00\x00sNaPpY", name: "snappy-compressed", remedy: RECOMPRESS },
    Magic { offset: 0, bytes: &[0x04, 0x22, 0x4d, 0x18], name: "lz4-compressed", remedy: RECOMPRESS },
    Magic { offset: 0, bytes: &[0x02, 0x21, 0x4c, 0x18], name: "lz4-compressed", remedy: RECOMPRESS },
    Magic { offset: 0, bytes: &[0xfd, b'7', b'z', b'X', b'Z', 0], name: "xz-compressed", remedy: RECOMPRESS },
    Magic { offset: 0, bytes: b"7z\xbc\xaf\x27\x1c", name: "a 7z archive", remedy: UNPACK },
    Magic { offset: 0, bytes: b"PK\x03\x04", name: "a zip archive", remedy: UNPACK },
    Magic { offset: 0, bytes: b"PK\x05\x06", name: "a zip archive", remedy: UNPACK },
    Magic { offset: 257, bytes: b"ustar", name: "a tar archive", remedy: UNPACK },
    Magic { offset: 0, bytes: b"PAR1", name: "a Parquet file", remedy: AS_TEXT },
    Magic { offset: 0, bytes: b"Obj\x01", name: "an Avro file", remedy: AS_TEXT },
];

pub(super) fn container(head: &[u8]) -> Result<Container, Reason> {
    if head.starts_with(&[0x1f, 0x8b, 0x08]) {
        return Ok(Container::Gzip);
    }
    let found = REFUSED.iter().find(|magic| {
        head.get(magic.offset..).is_some_and(|rest| rest.starts_with(magic.bytes)) && magic.confirmed_by(head)
    });
    match found {
        Some(magic) => Err(Reason::Container { name: magic.name, remedy: magic.remedy }),
        None => Ok(Container::Plain),
    }
}

impl Magic {
    /// The two magics that do not begin the file have a beginning of their own.
    fn confirmed_by(&self, head: &[u8]) -> bool {
        match self.offset {
            1 => head[0] & 0xf0 == 0x50,
            4 => head.starts_with(b"BZh") && (b'1'..=b'9').contains(&head[3]),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refused_container_is_named() {
        for magic in REFUSED {
            let mut head = vec![b'x'; magic.offset];
            match magic.offset {
                1 => head[0] = 0x5a,
                4 => head.copy_from_slice(b"BZh9"),
                _ => {}
            }
            head.extend_from_slice(magic.bytes);
            let Err(Reason::Container { name, .. }) = container(&head) else { panic!("{} passes", magic.name) };
            assert_eq!(name, magic.name);
        }
    }

    #[test]
    fn text_that_looks_a_little_like_a_magic_is_text() {
        for text in [&b"BZh is a word"[..], b"PK", b"PARTIAL", b"\x1f\x8b", b"", b"x*M\x18"] {
            assert!(matches!(container(text), Ok(Container::Plain)), "{text:?}");
        }
    }
}
