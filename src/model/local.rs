//! What the queue and the store of a directory agree on: how a file is named and versioned as an object.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// The ETag of a file: its size and its modification time. Writing the file again makes another object of it, even
/// when the bytes are the same.
pub fn file_etag(size: u64, modified: SystemTime) -> String {
    match modified.duration_since(UNIX_EPOCH) {
        Ok(since) => format!("{size:x}-{:x}", since.as_nanos()),
        Err(before) => format!("{size:x}-m{:x}", before.duration().as_nanos()),
    }
}

/// Hidden names, and the names that programs give to files they are still writing: neither is an object.
pub fn is_unfinished_name(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b".") || name.ends_with(b".tmp") || name.ends_with(b".part")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn size_and_time_each_make_another_version() {
        let at = UNIX_EPOCH + Duration::from_nanos(255);
        assert_eq!(file_etag(16, at), "10-ff");
        let others = [
            file_etag(17, at),
            file_etag(16, at + Duration::from_nanos(1)),
            file_etag(16, UNIX_EPOCH - Duration::from_nanos(255)),
        ];
        assert!(!others.contains(&file_etag(16, at)), "{others:?}");
    }
}
