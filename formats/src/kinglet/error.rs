//! Why a `.kinglet` file could not be read or written: one variant per cause.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::limits::{HEADER, META_BYTES, NAME_BYTES};
use super::{CHUNK, VERSION};
use crate::layout::{Form, LayoutError};
use crate::map::MapError;
use crate::spec::SpecError;

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The JSON description.
    Meta,
    /// The compiled tokenizer.
    Tokenizer,
    /// One record per tensor.
    Index,
    /// One hash per 4 MiB of data.
    ChunkTable,
    /// The tensors.
    Data,
}

impl Section {
    pub(super) const ALL: [Self; 5] =
        [Self::Meta, Self::Tokenizer, Self::Index, Self::ChunkTable, Self::Data];
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Meta => "meta",
            Self::Tokenizer => "tokenizer",
            Self::Index => "index",
            Self::ChunkTable => "chunk table",
            Self::Data => "data",
        })
    }
}

/// Why a `.kinglet` file could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KingletError {
    /// The file could not be mapped or read.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The file is shorter than a header.
    #[error(
        "the file is only {found} bytes long, less than the {HEADER} of a .kinglet header: it is \
         incomplete; fetch or convert it again"
    )]
    TooShort {
        /// Length of the file.
        found: u64,
    },
    /// The file belongs to another format.
    #[error("this is not a .kinglet file but {what}; {remedy}")]
    OtherFormat {
        /// What it is.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The file was a `.kinglet` file before it was transferred as text.
    #[error("the file was damaged by a text-mode transfer ({how}); transfer it again as binary")]
    Mangled {
        /// What happened to its bytes.
        how: &'static str,
    },
    /// The file is of no known kind.
    #[error("this is not a .kinglet file (it begins with {found:02x?})")]
    NotKinglet {
        /// First bytes.
        found: [u8; 8],
    },
    /// Another major version.
    #[error(
        "the file has format version {major}.{minor}, this Kinglet reads version {}; {}",
        VERSION.0,
        if *major > VERSION.0 { "update Kinglet" } else { "convert the checkpoint again" }
    )]
    Version {
        /// Major version of the file.
        major: u16,
        /// Minor version of the file.
        minor: u16,
    },
    /// The file needs features that this version does not have.
    #[error("the file needs features unknown to this Kinglet (flags {unknown:#x}); update Kinglet")]
    Features {
        /// The unknown flags.
        unknown: u32,
    },
    /// Bytes are missing at the end.
    #[error(
        "the file is incomplete: {found} of {expected} bytes are there; fetch or convert it again"
    )]
    Truncated {
        /// Length stated in the header.
        expected: u64,
        /// Length of the file.
        found: u64,
    },
    /// The file goes on after its end.
    #[error(
        "the file has {found} bytes where its header states {expected}; fetch or convert it again"
    )]
    TrailingBytes {
        /// Length stated in the header.
        expected: u64,
        /// Length of the file.
        found: u64,
    },
    /// A section does not fit into the file.
    #[error("the {section} section is {length} bytes long in a file of {file}")]
    SectionLength {
        /// Which section.
        section: Section,
        /// Its stated length.
        length: u64,
        /// Length of the file.
        file: u64,
    },
    /// The lengths of the sections do not add up to the length of the file.
    #[error(
        "the sections' lengths {sections:?} add up to {} bytes, the file has {found}",
        expected.map_or("more than 2^64".to_owned(), |n| n.to_string())
    )]
    SectionSum {
        /// Stated lengths.
        sections: [u64; 5],
        /// What they add up to, `None` when that overflows.
        expected: Option<u64>,
        /// Length of the file.
        found: u64,
    },
    /// Bytes that must be zero are not.
    #[error("{what} must be zero")]
    Reserved {
        /// Which bytes.
        what: &'static str,
    },
    /// Padding before a section is not zero.
    #[error("the padding before the {section} section must be zero")]
    SectionPadding {
        /// Section after the padding.
        section: Section,
    },
    /// Header, meta, tokenizer, index or chunk table are damaged.
    #[error("the file is damaged: the hash of its head does not match; fetch or convert it again")]
    HeadHash,
    /// The meta section is too long.
    #[error("the meta section is {length} bytes long, at most {META_BYTES} are possible")]
    MetaLength {
        /// Its length.
        length: u64,
    },
    /// The meta section cannot be understood.
    #[error(
        "the meta section cannot be understood: {problem}{}",
        if *minor > VERSION.1 { "; the file is newer than this Kinglet: update Kinglet" } else { "" }
    )]
    Meta {
        /// What is wrong with it.
        problem: String,
        /// Minor version of the file.
        minor: u16,
    },
    /// The model described by the file is impossible.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The length of the index is not that of whole records.
    #[error("the index is {length} bytes long, not a multiple of 256")]
    IndexLength {
        /// Its length.
        length: u64,
    },
    /// A record has no usable name.
    #[error("index record {record}: {problem}")]
    Name {
        /// Number of the record.
        record: usize,
        /// What is wrong with the name.
        problem: String,
    },
    /// A tensor's record or data is wrong.
    #[error("tensor `{name}`: {problem}")]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// What is wrong.
        problem: TensorProblem,
    },
    /// The planes do not fill the data section.
    #[error("the tensors need {expected} bytes of data, the data section has {found}")]
    DataLength {
        /// Length that follows from the index.
        expected: u64,
        /// Length stated in the header.
        found: u64,
    },
    /// The chunk table does not cover the data section.
    #[error("the chunk table is {found} bytes long, {data} bytes of data need {expected}")]
    ChunkTableLength {
        /// Length of the data section.
        data: u64,
        /// Length that follows from it.
        expected: u64,
        /// Length stated in the header.
        found: u64,
    },
    /// A part of the data section is damaged.
    #[error(
        "the data is damaged in its part {chunk} (bytes {} to {} of the data section); fetch or \
         convert the file again",
        *chunk as u64 * CHUNK as u64,
        (*chunk as u64 + 1) * CHUNK as u64
    )]
    Chunk {
        /// Number of the 4 MiB part.
        chunk: usize,
    },
    /// There is no room for the file in memory.
    #[error("the model needs {needed} bytes of memory, more than there are; use a smaller model")]
    OutOfMemory {
        /// Length of the file.
        needed: u64,
    },
    /// The machine stores numbers the other way round.
    #[error(".kinglet files are mapped and used in place, which needs a little-endian machine")]
    BigEndian,

    /// Two tensors, sections or planes are too large together.
    #[error("the file would be longer than 2^63 bytes")]
    FileTooLarge,
    /// The output path cannot be a file.
    #[error("cannot write {}: {problem}", .path.display())]
    Target {
        /// The output path.
        path: PathBuf,
        /// Why.
        problem: &'static str,
    },
    /// The disk is full.
    #[error(
        "no space left to write {}: {needed} bytes are needed in that folder; free some space or \
         choose another folder",
        .path.display()
    )]
    DiskFull {
        /// The output path.
        path: PathBuf,
        /// Length of the whole file.
        needed: u64,
    },
    /// Writing failed.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The output path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Tensors were not written as planned.
    #[error("{0}")]
    Plan(String),
}

/// What is wrong with a tensor.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// Another tensor has the same name.
    #[error("the name is used twice")]
    Duplicate,
    /// The name does not fit a record.
    #[error("the name is {length} bytes long, at most {NAME_BYTES} are possible")]
    NameLength {
        /// Its length in bytes.
        length: usize,
    },
    /// The role is unknown.
    #[error("role {role} is unknown; update Kinglet")]
    Role {
        /// The role found.
        role: u16,
    },
    /// The layout is unknown, or impossible for the dims.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Dims beyond the rank are not zero.
    #[error("{rank} dimensions, but {dims:?} are given")]
    UnusedDims {
        /// Stated number.
        rank: usize,
        /// All stored dims.
        dims: [u64; 4],
    },
    /// Bytes that must be zero are not.
    #[error("reserved bytes of its record must be zero")]
    Reserved,
    /// Another number of planes than the layout has.
    #[error("{expected} planes expected for {form}, {found} found")]
    PlaneCount {
        /// Dims, layout and group.
        form: Form,
        /// Number that follows from the layout.
        expected: usize,
        /// Number found.
        found: usize,
    },
    /// A plane is too short or too long for the dims.
    #[error("{expected} bytes expected for plane {plane} of {form}, {found} found")]
    PlaneLength {
        /// Dims, layout and group.
        form: Form,
        /// Number of the plane.
        plane: usize,
        /// Length that follows from the form.
        expected: u64,
        /// Length found.
        found: u64,
    },
    /// A plane is not where the one before it ends.
    #[error("plane {plane} begins at {found} of the data section, {expected} expected")]
    PlaneOffset {
        /// Number of the plane.
        plane: usize,
        /// Offset that follows from the planes before.
        expected: u64,
        /// Offset found.
        found: u64,
    },
    /// A plane ends outside the data section.
    #[error("plane {plane} ({length} bytes at {offset}) ends outside the data section of {data}")]
    BeyondData {
        /// Number of the plane.
        plane: usize,
        /// Its offset.
        offset: u64,
        /// Its length.
        length: u64,
        /// Length of the data section.
        data: u64,
    },
    /// The stored error is not a number or negative.
    #[error("its relative error is {value}")]
    RelativeError {
        /// The value found.
        value: f32,
    },
    /// The stored bytes are damaged.
    #[error("its data is damaged; fetch or convert the file again")]
    Hash,
    /// Padding after a plane is not zero.
    #[error("the padding after plane {plane} must be zero")]
    PlanePadding {
        /// Number of the plane.
        plane: usize,
    },
    /// The data holds something that no writer produces.
    #[error("its data holds {what}")]
    Flaw {
        /// What it holds.
        what: &'static str,
    },
    /// Another number of bytes than planned was written.
    #[error("{expected} bytes expected for {form}, {found} written")]
    Written {
        /// Dims, layout and group.
        form: Form,
        /// Number planned.
        expected: u64,
        /// Number written.
        found: u64,
    },
}
