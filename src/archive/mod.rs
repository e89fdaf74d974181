//! Trees of files as tar streams: packed from below a held directory, and unpacked below one.
//!
//! The maker of a stream may be hostile, and so may a container whose files are packed or unpacked while it runs.
//! Nothing is therefore ever done by a path that starts outside: every directory is opened with
//! `openat2(RESOLVE_IN_ROOT)` below the one that was handed in, and what is made or changed is a name in an open
//! directory or the file behind a descriptor.
//!
//! ```text
//! tree ─► pack ─► Entry + data ─► write ─► (tar stream) ─► compression ─► read ─► Entry + data ─► unpack ─► tree
//! ```
//!
//! Of a layer's stream, what is not in its files is kept beside them (`split`), so that the very stream can be written
//! again.
//!
//! The numbers of a header are the crate `tar`'s to lay out. Its reader is not used: it keeps extended headers
//! of any size in memory and cannot read values with a newline in them, as file capabilities may have.

mod ahead;
mod below;
mod compression;
mod directory_times;
mod entry;
#[cfg(any(test, fuzzing, doc))]
pub mod fuzz;
mod pack;
mod pipe;
mod read;
mod read_sparse;
mod sparse;
mod split;
mod unpack;
mod write;

use std::io;
use std::path::PathBuf;

use crate::names::Digest;
use crate::store::FileError;

pub use ahead::decompress_ahead;
pub use below::Below;
pub use compression::{CompressionFormat, decompress, drain, read_error};
pub use entry::{Entry, Kind, Time};
pub use pack::{Packer, Purpose, allow_descriptors, names};
pub use pipe::piped;
pub use read::Reader;
pub use sparse::{Part, Sparse, copy as copy_sparse};
pub use split::{Split, restore};
pub use unpack::{Owners, Target, Unpacked, unpack, unpack_layer};
pub use write::Writer;

/// The attribute that marks a directory of an overlay layer as hiding what is below it.
const OPAQUE: &str = "trusted.overlay.opaque";

/// What a file name starts with in a layer's tar stream when it stands for a removal (OCI image
/// specification, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";

/// The name in a layer's tar stream that marks its directory as opaque.
const OPAQUE_WHITEOUT: &[u8] = b".wh..wh..opq";

/// Why a stream could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not even the first header makes sense.
    #[error("it is not a tar archive")]
    NotTar,
    /// A compression that is not read.
    #[error("it is compressed with {0}; only gzip and zstd are read")]
    UnknownCompression(&'static str),
    /// The stream ends in the middle of an entry.
    #[error("the archive is cut short")]
    Truncated,
    /// Something in the archive contradicts itself.
    #[error("the archive is damaged: {what} at byte {position}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// Where in the (decompressed) stream.
        position: u64,
    },
    /// The compressed stream does not hold together.
    #[error("the {format} stream is damaged")]
    Compression {
        /// The compression.
        format: CompressionFormat,
        /// What its decoder said.
        #[source]
        source: io::Error,
    },
    /// The stream could not be read.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The stream could not be written.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// An entry of a kind that is not read.
    #[error("the archive holds {what}: {path}")]
    Unsupported {
        /// What it is.
        what: &'static str,
        /// The entry.
        path: PathBuf,
    },
    /// A name that leads out of the target.
    #[error("the archive names {path}, which leads out of the target directory")]
    Escapes {
        /// The name.
        path: PathBuf,
    },
    /// A whiteout that hides nothing that can have a name.
    #[error("the archive holds the malformed whiteout {path}")]
    Whiteout {
        /// The name.
        path: PathBuf,
    },
    /// A directory is in the way of something else, or the other way round.
    #[error("cannot replace the {existing} {path} with a {wanted}")]
    Conflict {
        /// What is there.
        existing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the archive has.
        wanted: &'static str,
    },
    /// Directories in directories, deeper than any program could name them.
    #[error("{path} lies more than {limit} directories deep")]
    TooDeep {
        /// Where.
        path: PathBuf,
        /// The most levels.
        limit: usize,
    },
    /// The files of a layer are not what they were when it was made.
    #[error("its files have changed since: they give the digest {found} instead of {expected}")]
    Changed {
        /// The digest that they gave.
        expected: Digest,
        /// The digest that they give.
        found: Digest,
    },
    /// A file could not be read or made.
    #[error(transparent)]
    File(#[from] FileError),
}

#[cfg(test)]
mod tests;
