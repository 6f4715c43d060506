//! The part of a format that is being collected: so many bytes that stand together, from input in any cut.

pub(super) struct Part {
    bytes: Vec<u8>,
    need: usize,
}

impl Part {
    pub(super) fn new(need: usize) -> Part {
        Part { bytes: Vec::new(), need }
    }

    /// Takes what is missing from the front of the input. The part's bytes when it is complete.
    pub(super) fn take(&mut self, input: &mut &[u8]) -> Option<Vec<u8>> {
        let (taken, rest) = input.split_at((self.need - self.bytes.len()).min(input.len()));
        *input = rest;
        self.bytes.extend_from_slice(taken);
        (self.bytes.len() == self.need).then(|| std::mem::take(&mut self.bytes))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// The first four bytes, as a number with its low byte first.
pub(super) fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).rev().fold(0, |number, &byte| number << 8 | u32::from(byte))
}
