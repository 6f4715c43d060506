//! Repetition and definition levels: runs of one value and bit-packed groups (RLE of parquet-format's Encodings.md).
//! Nothing is unpacked in advance, whatever number of levels a page declares.

use bytes::Bytes;

#[derive(Clone)]
pub(super) struct Levels {
    data: Bytes,
    at: usize,
    width: u32,
    run: Run,
}

#[derive(Clone, Copy)]
enum Run {
    Same {
        value: i16,
        left: u32,
    },
    /// `start` is the byte at which the groups begin.
    Packed {
        start: usize,
        next: u32,
        count: u32,
    },
}

impl Levels {
    pub(super) fn new(data: Bytes, max: i16) -> Levels {
        let width = u16::BITS - max.unsigned_abs().leading_zeros();
        Levels { data, at: 0, width, run: Run::Same { value: 0, left: 0 } }
    }

    /// The next level, which stays. `None` where the data ends or is malformed.
    pub(super) fn peek(&mut self) -> Option<i16> {
        loop {
            match self.run {
                Run::Same { value, left: 1.. } => return Some(value),
                Run::Packed { start, next, count } if next < count => return self.unpack(start, next),
                _ => self.load()?,
            }
        }
    }

    pub(super) fn next(&mut self) -> Option<i16> {
        let level = self.peek();
        match &mut self.run {
            Run::Same { left, .. } => *left = left.saturating_sub(1),
            Run::Packed { next, .. } => *next += 1,
        }
        level
    }

    /// How many of the next `count` levels are `wanted`; `None` where there are not so many levels.
    pub(super) fn occurrences(mut self, wanted: i16, mut count: u32) -> Option<u32> {
        let mut found = 0;
        while count > 0 {
            let level = self.peek()?;
            let step = match &mut self.run {
                Run::Same { left, .. } => std::mem::take(left).min(count),
                Run::Packed { next, .. } => {
                    *next += 1;
                    1
                }
            };
            if level == wanted {
                found += step;
            }
            count -= step;
        }
        Some(found)
    }

    fn unpack(&self, start: usize, index: u32) -> Option<i16> {
        let bit = index as usize * self.width as usize;
        let bytes = self.data.get(start + bit / 8..)?;
        let mut word = [0; 4];
        let have = bytes.len().min(4);
        if have * 8 < bit % 8 + self.width as usize {
            return None;
        }
        word[..have].copy_from_slice(&bytes[..have]);
        let value = (u32::from_le_bytes(word) >> (bit % 8)) & ((1 << self.width) - 1);
        i16::try_from(value).ok()
    }

    fn load(&mut self) -> Option<()> {
        let header = self.varint()?;
        self.run = if header & 1 == 1 {
            let groups = header >> 1;
            let start = self.at;
            // Each group has eight values. The last one may be cut.
            self.at = start.checked_add((groups as usize).checked_mul(self.width as usize)?)?.min(self.data.len());
            Run::Packed { start, next: 0, count: groups.checked_mul(8)? }
        } else {
            let bytes = self.data.get(self.at..self.at + self.width.div_ceil(8) as usize)?;
            self.at += bytes.len();
            let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
            Run::Same { value: i16::try_from(value).ok()?, left: header >> 1 }
        };
        Some(())
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = *self.data.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).ok();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(data: &'static [u8], max: i16) -> Vec<i16> {
        let mut levels = Levels::new(Bytes::from_static(data), max);
        std::iter::from_fn(|| levels.next()).take(100).collect()
    }

    #[test]
    fn runs_and_groups_are_told_one_by_one() {
        // Three times 2, then the eight values 0 to 7 in three bits each (the example of Encodings.md).
        let data = &[0x06, 0x02, 0x03, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        assert_eq!(all(data, 7), [2, 2, 2, 0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(Levels::new(Bytes::from_static(data), 7).occurrences(2, 11), Some(4));
        assert_eq!(Levels::new(Bytes::from_static(data), 7).occurrences(2, 12), None);
    }

    #[test]
    fn a_run_of_billions_costs_nothing() {
        let data = &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0x01];
        assert_eq!(Levels::new(Bytes::from_static(data), 1).occurrences(1, 0x7fff_ffff), Some(0x7fff_ffff));
    }

    #[test]
    fn cut_and_malformed_data_ends() {
        for data in [&[][..], &[0x06], &[0x80], &[0xff, 0xff, 0xff, 0xff, 0x7f], &[0x00, 0x01]] {
            assert!(all(data, 1).is_empty(), "{data:?}");
        }
        assert_eq!(all(&[0x03, 0xff], 7), [7, 7], "of a cut group, what is there");
        assert!(all(&[0x02, 0xff, 0xff], 0x7fff).is_empty(), "a level that no level can be");
    }
}
