//! What a page with delta encodings declares, looked at before the crate makes room for it: the crate trusts the counts
//! (DELTA_BINARY_PACKED and its relatives of parquet-format's Encodings.md).

use parquet::basic::Encoding;

/// Values of one page with a delta encoding, whose lengths the crate unpacks all at once.
const MAX_VALUES: u32 = 4 * 1024 * 1024;

pub(super) fn check(encoding: Encoding, data: &[u8], values: u32) -> Result<(), String> {
    let packed = match encoding {
        Encoding::DELTA_BINARY_PACKED | Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
        // The lengths of prefixes, then those of what follows these.
        Encoding::DELTA_BYTE_ARRAY => 2,
        _ => return Ok(()),
    };
    if values > MAX_VALUES {
        return Err(format!("it has {values} values with a delta encoding, and {MAX_VALUES} are the most"));
    }
    let mut rest = data;
    for _ in 0..packed {
        rest = pass(rest, values).ok_or("its lengths or integers are not as many as it has values")?;
    }
    Ok(())
}

/// Bytes of the lengths that the crate unpacks all at once.
pub(super) fn unpacked(encoding: Encoding, values: u32) -> usize {
    let lengths = match encoding {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
        Encoding::DELTA_BYTE_ARRAY => 2,
        _ => 0,
    };
    lengths * values as usize * size_of::<i32>()
}

/// Passes over one sequence of packed integers, of which there must be `values`.
fn pass(mut data: &[u8], values: u32) -> Option<&[u8]> {
    let block = usize::try_from(varint(&mut data)?).ok()?;
    let minis = usize::try_from(varint(&mut data)?).ok()?;
    let count = usize::try_from(varint(&mut data)?).ok()?;
    varint(&mut data)?;
    if count != values as usize || minis == 0 || block % minis != 0 || block / minis % 32 != 0 || block > 1 << 20 {
        return None;
    }
    let each = block / minis;
    let mut left = count.saturating_sub(1);
    while left > 0 {
        varint(&mut data)?;
        let (widths, rest) = data.split_at_checked(minis)?;
        data = rest;
        for width in widths {
            if left == 0 {
                break;
            }
            if *width > 64 {
                return None;
            }
            // The last one may be cut.
            data = &data[(each / 8 * usize::from(*width)).min(data.len())..];
            left = left.saturating_sub(each);
        }
    }
    Some(data)
}

fn varint(data: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = data.split_first()?;
        *data = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of 128 values in 4 parts; 3 values, the first 5; one block with a smallest difference of 0 and width 0.
    const THREE: &[u8] = &[0x80, 0x01, 0x04, 0x03, 0x0a, 0x00, 0, 0, 0, 0];

    #[test]
    fn counts_are_those_of_the_page() {
        assert_eq!(check(Encoding::DELTA_BINARY_PACKED, THREE, 3), Ok(()));
        assert_eq!(check(Encoding::PLAIN, b"", 3), Ok(()));
        assert!(check(Encoding::DELTA_BINARY_PACKED, THREE, 4).is_err());
        assert!(check(Encoding::DELTA_LENGTH_BYTE_ARRAY, &THREE[..6], 3).is_err());
        let both = [THREE, &[0x80, 0x01, 0x04, 0xff, 0xff, 0xff, 0x7f, 0x0a]].concat();
        assert!(check(Encoding::DELTA_BYTE_ARRAY, &both, 3).is_err(), "lengths of what follows the prefixes");
        assert!(check(Encoding::DELTA_BINARY_PACKED, &[0, 0, 3, 0], 3).is_err(), "blocks of nothing");
    }
}
