//! Pages: their headers (PageHeader of parquet-format's parquet.thrift), and what is in them, decompressed.
//!
//! The header is read here and not by the crate, because the crate reads a page only where all of it is at hand, and
//! unpacks gzip to whatever length that has. Here a page never becomes larger than its header says, and what that is,
//! is known before.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use parquet::basic::{Compression, Encoding};

use super::thrift::{Compact, Fault, Field};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    /// Bytes of the header itself.
    pub(super) length: usize,
    pub(super) stored: u32,
    pub(super) unpacked: u32,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Dictionary {
        count: u32,
        encoding: Encoding,
    },
    Data(Data),
    /// Of no use for reading rows.
    Other,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Data {
    pub(super) levels: u32,
    pub(super) encoding: Encoding,
    pub(super) form: Form,
}

/// Where the levels are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    /// Before the values, each with its length, and compressed with them.
    V1 { definition: Encoding, repetition: Encoding },
    /// Before the values, never compressed.
    V2 { definition: u32, repetition: u32, packed: bool },
}

/// Numbers of a header or of one of its parts, by field id.
#[derive(Default)]
struct Numbers {
    values: [Option<u32>; 9],
    truth: Option<bool>,
}

impl Numbers {
    fn take(&mut self, compact: &mut Compact<'_>, id: i64, field: Field) -> Result<(), Fault> {
        let slot = usize::try_from(id).ok().and_then(|id| self.values.get_mut(id));
        match (field.truth(), slot) {
            (Some(truth), _) => self.truth = Some(truth),
            (None, Some(slot)) if field.is_integer() => *slot = Some(compact.count()?),
            _ => compact.skip(field)?,
        }
        Ok(())
    }

    fn part(compact: &mut Compact<'_>) -> Result<Numbers, Fault> {
        let mut numbers = Numbers::default();
        compact.fields(|compact, id, field| numbers.take(compact, id, field))?;
        Ok(numbers)
    }

    fn get(&self, id: usize) -> Result<u32, Fault> {
        self.values[id].ok_or_else(|| Fault::Bad("a page header lacks a field".to_owned()))
    }

    fn encoding(&self, id: usize) -> Result<Encoding, Fault> {
        encoding(self.get(id)?)
    }
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Result<Header, Fault> {
        let mut compact = Compact::new(bytes);
        let mut top = Numbers::default();
        let mut parts: [Option<Numbers>; 9] = Default::default();
        compact.fields(|compact, id, field| match (id, field.is_struct()) {
            // A checksum may be any number.
            (4, _) => compact.skip(field),
            (5 | 7 | 8, true) => {
                parts[id as usize] = Some(Numbers::part(compact)?);
                Ok(())
            }
            _ => top.take(compact, id, field),
        })?;
        let part = |id: usize| parts[id].as_ref().ok_or_else(|| Fault::Bad("a page header lacks a part".to_owned()));
        let kind = match top.get(1)? {
            0 => {
                let part = part(5)?;
                let form = Form::V1 { definition: part.encoding(3)?, repetition: part.encoding(4)? };
                Kind::Data(Data { levels: part.get(1)?, encoding: part.encoding(2)?, form })
            }
            2 => Kind::Dictionary { count: part(7)?.get(1)?, encoding: part(7)?.encoding(2)? },
            3 => {
                let part = part(8)?;
                let packed = part.truth.unwrap_or(true);
                let form = Form::V2 { definition: part.get(5)?, repetition: part.get(6)?, packed };
                Kind::Data(Data { levels: part.get(1)?, encoding: part.encoding(4)?, form })
            }
            _ => Kind::Other,
        };
        Ok(Header { length: compact.taken(), stored: top.get(3)?, unpacked: top.get(2)?, kind })
    }

    /// Bytes of the content: what the header says of it, or those that are there if they are not packed.
    pub(super) fn content(&self, codec: Compression) -> usize {
        if self.is_plain(codec) { self.stored as usize } else { self.unpacked as usize }
    }

    fn is_plain(&self, codec: Compression) -> bool {
        let is_packed = !matches!(self.kind, Kind::Data(Data { form: Form::V2 { packed: false, .. }, .. }));
        codec == Compression::UNCOMPRESSED || !is_packed
    }

    /// The content of the page; its levels too, where they are not compressed. It holds no other bytes alive.
    pub(super) fn unpack(&self, codec: Compression, stored: &[u8]) -> Result<Bytes, String> {
        if self.is_plain(codec) {
            return Ok(Bytes::copy_from_slice(stored));
        }
        let plain = match &self.kind {
            Kind::Data(Data { form: Form::V2 { definition, repetition, .. }, .. }) => {
                *definition as usize + *repetition as usize
            }
            _ => 0,
        };
        let size = self.unpacked as usize;
        if plain > stored.len() || plain > size {
            return Err("its levels are longer than the page".to_owned());
        }
        let mut page = vec![0; size];
        page[..plain].copy_from_slice(&stored[..plain]);
        if plain < size {
            unpack(codec, &stored[plain..], &mut page[plain..])?;
        }
        Ok(page.into())
    }
}

/// Fills exactly `out`.
fn unpack(codec: Compression, packed: &[u8], out: &mut [u8]) -> Result<(), String> {
    let size = out.len();
    let given = match codec {
        Compression::SNAPPY => snap::raw::Decoder::new().decompress(packed, out).map_err(|error| error.to_string())?,
        Compression::GZIP(_) => {
            let mut gunzip = MultiGzDecoder::new(packed);
            gunzip.read_exact(out).map_err(|error| error.to_string())?;
            // What is left must be nothing but the end.
            size + gunzip.read(&mut [0]).map_err(|error| error.to_string())?
        }
        Compression::ZSTD(_) => {
            zstd_safe::decompress(out, packed).map_err(|code| zstd_safe::get_error_name(code).to_owned())?
        }
        Compression::LZ4_RAW => lz4_flex::block::decompress_into(packed, out).map_err(|error| error.to_string())?,
        Compression::LZ4 => match unpack_hadoop(packed, out) {
            Some(given) => given,
            // Written by those who did not know of Hadoop's framing.
            None => lz4_flex::block::decompress_into(packed, out).map_err(|error| error.to_string())?,
        },
        Compression::BROTLI(_) | Compression::LZO => {
            return Err("its codec is not supported; write it with zstd, snappy, gzip or lz4".to_owned());
        }
        Compression::UNCOMPRESSED => return Err("it is not compressed".to_owned()),
    };
    if given != size {
        return Err(format!("it has {given} bytes where its header says {size}"));
    }
    Ok(())
}

/// Hadoop's framing: blocks that each begin with their size before and after compression, in big-endian order.
fn unpack_hadoop(mut packed: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut given = 0_usize;
    while !packed.is_empty() {
        let (head, rest) = packed.split_at_checked(8)?;
        let size = |bytes: &[u8]| bytes.iter().fold(0_usize, |size, byte| size << 8 | usize::from(*byte));
        let (block, rest) = rest.split_at_checked(size(&head[4..]))?;
        let to = out.get_mut(given..given.checked_add(size(&head[..4]))?)?;
        if lz4_flex::block::decompress_into(block, to).ok()? != to.len() {
            return None;
        }
        given += to.len();
        packed = rest;
    }
    Some(given)
}

fn encoding(number: u32) -> Result<Encoding, Fault> {
    Ok(match number {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        #[expect(deprecated, reason = "named where there are no levels, and refused where there are")]
        4 => Encoding::BIT_PACKED,
        other => return Err(Fault::Bad(format!("{other} is no encoding"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// type 0, unpacked 10, stored 12, data page {levels 3, PLAIN, RLE, RLE}.
    const V1: &[u8] = &[0x15, 0, 0x15, 20, 0x15, 24, 0x2c, 0x15, 6, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0];

    #[test]
    fn a_header_is_read_or_found_to_be_cut() {
        let form = Form::V1 { definition: Encoding::RLE, repetition: Encoding::RLE };
        let kind = Kind::Data(Data { levels: 3, encoding: Encoding::PLAIN, form });
        assert_eq!(Header::read(V1), Ok(Header { length: V1.len(), stored: 12, unpacked: 10, kind }));
        for cut in 0..V1.len() {
            assert_eq!(Header::read(&V1[..cut]), Err(Fault::Short));
        }
        let mut negative = V1.to_vec();
        negative[3] = 1;
        assert!(matches!(Header::read(&negative), Err(Fault::Bad(_))));
    }

    #[test]
    fn no_codec_gives_more_or_less_than_the_header_says() {
        use std::io::Write;
        let text = b"abcabcabcabcabcabcabcabcabcabc".repeat(10);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let lz4 = lz4_flex::block::compress(&text);
        let mut hadoop = (text.len() as u32).to_be_bytes().to_vec();
        hadoop.extend((lz4.len() as u32).to_be_bytes());
        hadoop.extend(&lz4);
        let mut zstd = vec![0; 1000];
        let size = zstd_safe::compress(&mut zstd[..], &text, 1).unwrap();
        zstd.truncate(size);
        for (codec, packed) in [
            (Compression::GZIP(Default::default()), gzip.finish().unwrap()),
            (Compression::SNAPPY, snap::raw::Encoder::new().compress_vec(&text).unwrap()),
            (Compression::ZSTD(Default::default()), zstd),
            (Compression::LZ4, hadoop),
            (Compression::LZ4, lz4.clone()),
            (Compression::LZ4_RAW, lz4),
        ] {
            for (size, fits) in [(text.len(), true), (text.len() - 1, false), (text.len() + 1, false)] {
                let mut out = vec![0; size];
                assert_eq!(unpack(codec, &packed, &mut out).is_ok(), fits, "{codec:?}, {size} bytes");
                assert!(!fits || out == text);
            }
        }
    }
}
