//! Why an object could not be decoded to its end.

use crate::model::Code;

/// Decoding stopped. Pieces that were produced before stay valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("decoding stopped after {offset} decompressed bytes: {reason}")]
pub struct DecodeError {
    /// Decompressed bytes before the fault.
    pub offset: u64,
    pub reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("the {codec} data stops before its end; the object is truncated, upload it again")]
    Truncated { codec: &'static str },
    #[error("the {codec} data is corrupt: {fault}; upload the object again")]
    Corrupt { codec: &'static str, fault: String },
    #[error("the object is {name}, which is not supported; {remedy}")]
    Container { name: &'static str, remedy: &'static str },
    #[error("more than two layers of compression; store the object compressed once")]
    TooManyLayers,
    #[error("the object has more than {limit} decompressed bytes; raise `max_object_mib` or store smaller objects")]
    TooLarge { limit: u64 },
    #[error(
        "{bytes_in} bytes decompressed to {bytes_out}, which no log does; the object is taken for a decompression bomb"
    )]
    Bomb { bytes_in: u64, bytes_out: u64 },
    #[error(
        "the object's source has Parquet files, and it is none; take `stream_type` from its source, or this prefix"
    )]
    NotParquet,
    #[error("reading the Parquet file needs more than {limit} bytes at once; write smaller pages, or fewer columns")]
    TooWide { limit: u64 },
    #[error("the object holds binary data (a NUL byte at the beginning), not text; store logs as text")]
    Binary,
    #[error("the object is UTF-32 text, which is not supported; store logs as UTF-8")]
    Utf32,
    #[error("the UTF-16 text is malformed; store logs as UTF-8")]
    Utf16Malformed,
    #[error(
        "the XML has a document type declaration, which is refused as it may name files and define entities; remove it"
    )]
    Doctype,
    /// `at` counts bytes of the text.
    #[error("{message}")]
    Syntax { at: u64, message: String },
}

impl Reason {
    pub fn code(&self) -> Code {
        match self {
            Reason::Truncated { .. } => Code::Truncated,
            Reason::Corrupt { .. } => Code::Corrupt,
            Reason::Container { .. } => Code::UnsupportedContainer,
            Reason::TooManyLayers => Code::TooManyLayers,
            Reason::TooLarge { .. } | Reason::Bomb { .. } => Code::Bomb,
            Reason::NotParquet => Code::NotParquet,
            Reason::TooWide { .. } => Code::TooWide,
            Reason::Binary => Code::Binary,
            Reason::Utf32 | Reason::Utf16Malformed => Code::BadEncoding,
            Reason::Doctype => Code::Doctype,
            Reason::Syntax { .. } => Code::Syntax,
        }
    }

    /// Whether the same object may decode after a fresh download: the fault may have happened on the way.
    pub fn may_be_transient(&self) -> bool {
        matches!(self, Reason::Truncated { .. } | Reason::Corrupt { .. } | Reason::Syntax { .. })
    }
}

/// Where a stage puts its output.
pub(super) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Reason>;

/// An unpacker found a fault, after so many bytes of the slice that it had to fill.
pub(super) struct Fault {
    pub(super) given: usize,
    pub(super) reason: Reason,
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Fault {
        Fault { given: 0, reason }
    }
}
