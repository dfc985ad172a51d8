//! A backup of the server: one file that holds all records of a store, and the blobs that they refer to.
//!
//! ```text
//!   "fleet backup\n"  u16 format  u32 length, header (JSON)           8 bytes check
//!   'd' u32 length    zstd stream of records in canonical order,      8 bytes check     as often as needed
//!                     and of blobs
//!   'e' u32 32        BLAKE3 of all that comes before
//!
//!   a record:  'd' kind id rev seq body   'l' set id body   'r' lane stream at n [link] body   'e' seq count digest
//!   a blob:    'b' BLAKE3 size   'p' bytes, until it has its size; or 'x': what there is of it is damaged
//! ```
//!
//! Numbers are little endian; a name has its length in one byte, a body in four. A check is the first 8 bytes of the BLAKE3 of
//! everything before it, so that damage is found where it is, and frames can be neither exchanged nor left out. The last record
//! is the `End` of the export, with its digest: equal digests are equal stores, whatever the engines. Blobs come after it, which they
//! have to: documents among the records say which they are. Format 1 had none.
//!
//! The header is readable without a key and says what the file is. Secrets inside are sealed by the master key, which the
//! header holds under a passphrase, or names if it was left out.

mod damage;
mod header;
mod key;
mod reader;
mod record;
mod writer;

pub use damage::Damage;
pub use header::{Header, KeyPart};
pub use key::{KeyError, WrappedKey, unwrap_key, wrap_key};
pub use reader::ArchiveReader;
pub use record::Item;
pub use writer::{ArchiveWriter, Archived, Content, write_archive};

/// The first bytes of a backup.
const MAGIC: &[u8] = b"fleet backup\n";
/// The version of the format; a greater one is refused.
pub const FORMAT: u16 = 2;
/// Bytes of a check.
const CHECK: usize = 8;
/// The most bytes of a header.
const HEADER: usize = 64 * 1024;
/// The most bytes of a frame.
const FRAME: usize = 1024 * 1024;
/// A frame of the compressed stream.
const DATA: u8 = b'd';
/// The last frame.
const END: u8 = b'e';

/// The check of everything that a hasher has seen.
fn check(hasher: &blake3::Hasher) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK]);
    check
}

#[cfg(test)]
mod tests;
