//! The compact protocol of Thrift (thrift-compact-protocol.md of Apache Thrift), as far as page headers need it, and a
//! look over a footer before it is decoded for real: what it declares must be there.

/// Why bytes are no value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// They end within it.
    Short,
    Bad(String),
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Values within values. The format itself needs six.
const MAX_DEPTH: u8 = 32;

pub(super) struct Compact<'a> {
    rest: &'a [u8],
    length: usize,
    /// Elements of lists of structures that were passed over.
    structs: u64,
}

impl<'a> Compact<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Compact<'a> {
        Compact { rest: bytes, length: bytes.len(), structs: 0 }
    }

    pub(super) fn taken(&self) -> usize {
        self.length - self.rest.len()
    }

    pub(super) fn structs(&self) -> u64 {
        self.structs
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let (first, rest) = self.rest.split_first().ok_or(Fault::Short)?;
        self.rest = rest;
        Ok(*first)
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(bad("an integer has too many bytes"))
    }

    fn integer(&mut self) -> Result<i64, Fault> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// A size or a count.
    pub(super) fn count(&mut self) -> Result<u32, Fault> {
        let value = self.integer()?;
        u32::try_from(value)
            .ok()
            .filter(|value| i32::try_from(*value).is_ok())
            .ok_or_else(|| bad(format!("{value} is no size")))
    }

    fn skip_bytes(&mut self, count: u64) -> Result<(), Fault> {
        let count = usize::try_from(count).map_err(|_| Fault::Short)?;
        self.rest = self.rest.get(count..).ok_or(Fault::Short)?;
        Ok(())
    }

    /// Hands each field of a structure to `take`, which reads or skips its value.
    pub(super) fn fields(
        &mut self,
        mut take: impl FnMut(&mut Self, i64, Field) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut id = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            id = if head >> 4 == 0 { self.integer()? } else { id.wrapping_add(i64::from(head >> 4)) };
            take(self, id, Field(head & 0xf))?;
        }
    }

    /// Element type and number of elements; each has a byte at the least.
    pub(super) fn list(&mut self) -> Result<(Field, u64), Fault> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        if count > self.rest.len() as u64 {
            return Err(Fault::Short);
        }
        if head & 0xf == STRUCT {
            self.structs += count;
        }
        Ok((Field(head & 0xf), count))
    }

    pub(super) fn skip(&mut self, field: Field) -> Result<(), Fault> {
        match field.0 {
            TRUE | FALSE => Ok(()),
            kind => self.skip_value(kind, 0),
        }
    }

    fn skip_value(&mut self, kind: u8, depth: u8) -> Result<(), Fault> {
        if depth == MAX_DEPTH {
            return Err(bad("values are nested too deep"));
        }
        match kind {
            // As an element, a truth value has a byte of its own.
            TRUE | FALSE | 3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.skip_bytes(8),
            8 => {
                let length = self.varint()?;
                self.skip_bytes(length)
            }
            LIST | 10 => {
                let (element, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip_value(element.0, depth + 1))
            }
            11 => {
                let count = self.varint()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                (0..count).try_for_each(|_| {
                    self.skip_value(kinds >> 4, depth + 1)?;
                    self.skip_value(kinds & 0xf, depth + 1)
                })
            }
            STRUCT => self.fields(|inner, _, field| match field.0 {
                TRUE | FALSE => Ok(()),
                kind => inner.skip_value(kind, depth + 1),
            }),
            other => Err(bad(format!("{other} is no type"))),
        }
    }
}

/// The type of a value.
#[derive(Clone, Copy)]
pub(super) struct Field(u8);

impl Field {
    pub(super) fn is_struct(self) -> bool {
        self.0 == STRUCT
    }

    pub(super) fn is_list(self) -> bool {
        self.0 == LIST
    }

    pub(super) fn is_integer(self) -> bool {
        (4..=6).contains(&self.0)
    }

    /// The value of a truth field, which has no bytes.
    pub(super) fn truth(self) -> Option<bool> {
        matches!(self.0, TRUE | FALSE).then_some(self.0 == TRUE)
    }
}

fn bad(what: impl Into<String>) -> Fault {
    Fault::Bad(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(bytes: &[u8]) -> Result<usize, Fault> {
        let mut compact = Compact::new(bytes);
        compact.skip(Field(STRUCT)).map(|()| compact.taken())
    }

    #[test]
    fn whole_structures_are_passed_over() {
        // i32 1, binary "ab", list of two i32, true, a structure, stop.
        let bytes = [0x15, 0x02, 0x18, 0x02, b'a', b'b', 0x19, 0x25, 0x02, 0x04, 0x11, 0x1c, 0x15, 0x02, 0x00, 0x00];
        assert_eq!(skipped(&bytes), Ok(bytes.len()));
        for cut in 0..bytes.len() {
            assert_eq!(skipped(&bytes[..cut]), Err(Fault::Short));
        }
    }

    #[test]
    fn what_a_footer_declares_must_be_there() {
        // A list that claims 2^32 structures.
        assert_eq!(skipped(&[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(Fault::Short));
        assert!(matches!(skipped(&[0x1c; 100]), Err(Fault::Bad(_))), "structures without end");
        assert!(matches!(skipped(&[0x1d]), Err(Fault::Bad(_))), "an unknown type");
    }
}
