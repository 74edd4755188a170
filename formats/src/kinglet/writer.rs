//! Writes a file tensor by tensor, in bounded memory, and puts it in place only when complete.

use std::collections::HashSet;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::error::{KingletError, TensorProblem};
use super::header::{HASH, Header, Lengths, Places, head_hash};
use super::index::{self, RECORD, Record, Role};
use super::limits::{HEADER, NAME_BYTES};
use super::meta::Meta;
use super::new_file::{NewFile, write_error};
use super::{ALIGNMENT, CHUNK};
use crate::layout::{Form, Layout, Planes, plane_lengths};

/// A tensor that is going to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPlan {
    /// Canonical name, at most [`NAME_BYTES`] long.
    pub name: String,
    /// What it is used for.
    pub role: Role,
    /// How its numbers are stored.
    pub layout: Layout,
    /// Dimensions, outermost first.
    pub dims: Vec<u64>,
    /// Columns that share a scale, 0 for a whole row or for layouts without scales.
    pub group: u32,
}

/// Writes a `.kinglet` file: first all tensors in the order of the plan, then the rest.
///
/// With [`Writer::create`] the bytes go to a temporary file beside the target, which takes the
/// target's name in [`Writer::finish`] when everything is on the disk; dropping the writer removes
/// it. [`Writer::to`] writes to anything else, and [`Writer::into_inner`] ends that.
pub struct Writer<W: Write + Seek = NewFile> {
    /// Its name in messages.
    path: PathBuf,
    out: BufWriter<W>,
    places: Places,
    lengths: Lengths,
    meta: Vec<u8>,
    tokenizer: Vec<u8>,
    plan: Vec<Planned>,
    /// Records of the tensors written so far.
    index: Vec<u8>,
    chunks: ChunkTable,
    tensor_hash: blake3::Hasher,
    /// Bytes of the current tensor written so far, without padding.
    written: u64,
    /// A failed write leaves the file in an unknown state.
    failed: bool,
}

/// A tensor of the plan with what follows from it.
struct Planned {
    name: String,
    role: Role,
    form: Form,
    lengths: Planes,
    offsets: Vec<u64>,
}

/// What is known of a file before its tensors.
struct Outline {
    places: Places,
    lengths: Lengths,
    meta: Vec<u8>,
    plan: Vec<Planned>,
}

impl Outline {
    fn new(meta: &Meta, tokenizer: &[u8], plan: Vec<TensorPlan>) -> Result<Self, KingletError> {
        let meta = meta.to_section()?;
        let (plan, data_len) = lay_out(plan)?;
        let lengths = Lengths {
            sections: [
                meta.len() as u64,
                tokenizer.len() as u64,
                (plan.len() * RECORD) as u64,
                data_len.div_ceil(CHUNK as u64) * blake3::OUT_LEN as u64,
                data_len,
            ],
        };
        let places = lengths.places().ok_or(KingletError::FileTooLarge)?;
        Ok(Self { places, lengths, meta, plan })
    }
}

impl Writer {
    /// Starts a file at `path`; a file already there stays until [`Writer::finish`] replaces it.
    ///
    /// The caller makes sure that `path` is none of the files it reads from.
    pub fn create(
        path: &Path,
        meta: &Meta,
        tokenizer: &[u8],
        plan: Vec<TensorPlan>,
    ) -> Result<Self, KingletError> {
        let outline = Outline::new(meta, tokenizer, plan)?;
        let file = NewFile::create(path, outline.places.file)?;
        Self::begin(file, path, outline, tokenizer)
    }

    /// Writes what stands before the data, brings everything to the disk and gives the file its
    /// name.
    pub fn finish(self) -> Result<(), KingletError> {
        self.into_inner()?.persist()
    }
}

impl<W: Write + Seek> Writer<W> {
    /// Starts a file at the beginning of `out`, which messages call `name`.
    pub fn to(
        out: W,
        name: &str,
        meta: &Meta,
        tokenizer: &[u8],
        plan: Vec<TensorPlan>,
    ) -> Result<Self, KingletError> {
        Self::begin(out, Path::new(name), Outline::new(meta, tokenizer, plan)?, tokenizer)
    }

    fn begin(
        out: W,
        path: &Path,
        outline: Outline,
        tokenizer: &[u8],
    ) -> Result<Self, KingletError> {
        let Outline { places, lengths, meta, plan } = outline;
        let mut writer = Self {
            path: path.to_owned(),
            out: BufWriter::with_capacity(1 << 20, out),
            places,
            lengths,
            meta,
            tokenizer: tokenizer.to_vec(),
            plan,
            index: Vec::new(),
            chunks: ChunkTable::default(),
            tensor_hash: blake3::Hasher::new(),
            written: 0,
            failed: false,
        };
        let data = writer.places.sections[4].start;
        writer.out.seek(SeekFrom::Start(data)).map_err(|e| writer.io_error(e))?;
        Ok(writer)
    }

    /// Length that the finished file will have.
    pub fn file_len(&self) -> u64 {
        self.places.file
    }

    /// Number of the tensor that is being written.
    fn current(&self) -> usize {
        self.index.len() / RECORD
    }

    /// Writes the next bytes of the current tensor: plane after plane, without padding, in pieces
    /// of any size.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), KingletError> {
        self.check_usable()?;
        let current = self.current();
        let Some(planned) = self.plan.get(current) else {
            return Err(KingletError::Plan("all planned tensors are written".to_owned()));
        };
        let lengths = planned.lengths;
        let expected = lengths.total();
        let found = self.written.saturating_add(bytes.len() as u64);
        if found > expected {
            return Err(self.wrong_length(found));
        }
        self.tensor_hash.update(bytes);
        let mut plane_end = 0;
        for length in lengths.lengths() {
            plane_end += length;
            if self.written >= plane_end {
                continue;
            }
            let rest = usize::try_from(plane_end - self.written).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(rest));
            self.put(now)?;
            self.written += now.len() as u64;
            bytes = later;
            if self.written == plane_end {
                let padding = (length.wrapping_neg() % ALIGNMENT as u64) as usize;
                self.put(&[0; ALIGNMENT][..padding])?;
            }
        }
        Ok(())
    }

    /// Ends the current tensor; all its bytes must have been written. `relative_error` is the RMS
    /// of the quantization error over the RMS of the tensor, 0 when nothing was lost.
    pub fn end_tensor(&mut self, relative_error: f32) -> Result<(), KingletError> {
        self.check_usable()?;
        let current = self.current();
        let Some(planned) = self.plan.get(current) else {
            return Err(KingletError::Plan("all planned tensors are written".to_owned()));
        };
        if self.written != planned.lengths.total() {
            return Err(self.wrong_length(self.written));
        }
        index::check_relative_error(relative_error)
            .map_err(|problem| KingletError::Tensor { name: planned.name.clone(), problem })?;
        let record = Record {
            name: &planned.name,
            role: planned.role,
            form: &planned.form,
            lengths: planned.lengths,
            offsets: &planned.offsets,
            relative_error,
            hash: *self.tensor_hash.finalize().as_bytes(),
        };
        self.index.extend(record.bytes());
        self.tensor_hash = blake3::Hasher::new();
        self.written = 0;
        Ok(())
    }

    /// Writes what stands before the data, and gives back what was written to.
    pub fn into_inner(mut self) -> Result<W, KingletError> {
        self.check_usable()?;
        if let Some(planned) = self.plan.get(self.current()) {
            return Err(KingletError::Plan(format!("tensor `{}` is missing", planned.name)));
        }
        let head = self.head();
        self.out
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.out.write_all(&head))
            .map_err(|e| self.io_error(e))?;
        let Self { path, out, places, .. } = self;
        out.into_inner().map_err(|e| write_error(&path, places.file, e.into_error()))
    }

    /// Everything before the data section.
    fn head(&mut self) -> Vec<u8> {
        let chunk_table = std::mem::take(&mut self.chunks).finish();
        let mut head = Header::bytes(&self.lengths, self.places.file).to_vec();
        debug_assert_eq!(head.len(), HEADER);
        let sections = [&self.meta, &self.tokenizer, &self.index, &chunk_table];
        for (section, place) in sections.into_iter().zip(&self.places.sections) {
            head.resize(place.start as usize, 0);
            head.extend_from_slice(section);
        }
        head.resize(self.places.sections[4].start as usize, 0);
        let hash = head_hash(&head);
        head[HASH].copy_from_slice(&hash);
        head
    }

    /// Writes bytes of the data section.
    fn put(&mut self, bytes: &[u8]) -> Result<(), KingletError> {
        self.chunks.update(bytes);
        self.out.write_all(bytes).map_err(|e| {
            self.failed = true;
            self.io_error(e)
        })
    }

    fn check_usable(&self) -> Result<(), KingletError> {
        if self.failed {
            return Err(KingletError::Plan("an earlier write failed".to_owned()));
        }
        Ok(())
    }

    fn wrong_length(&self, found: u64) -> KingletError {
        let planned = &self.plan[self.current()];
        KingletError::Tensor {
            name: planned.name.clone(),
            problem: TensorProblem::Written {
                form: planned.form.clone(),
                expected: planned.lengths.total(),
                found,
            },
        }
    }

    fn io_error(&self, source: io::Error) -> KingletError {
        write_error(&self.path, self.places.file, source)
    }
}

/// Hashes of the data section's parts, computed while it is written.
#[derive(Default)]
struct ChunkTable {
    table: Vec<u8>,
    hasher: blake3::Hasher,
    /// Bytes of the current part so far.
    filled: usize,
}

impl ChunkTable {
    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.filled));
            self.hasher.update(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == CHUNK {
                self.end_chunk();
            }
        }
    }

    fn end_chunk(&mut self) {
        self.table.extend(self.hasher.finalize().as_bytes());
        self.hasher.reset();
        self.filled = 0;
    }

    fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.end_chunk();
        }
        self.table
    }
}

/// Checks the plan and places every plane; also returns the length of the data section.
fn lay_out(plan: Vec<TensorPlan>) -> Result<(Vec<Planned>, u64), KingletError> {
    let mut names = HashSet::with_capacity(plan.len());
    let mut planned = Vec::with_capacity(plan.len());
    let mut end = 0u64;
    for (record, tensor) in plan.into_iter().enumerate() {
        let TensorPlan { name, role, layout, dims, group } = tensor;
        index::check_name(&name).map_err(|problem| KingletError::Name { record, problem })?;
        let result = if name.len() > NAME_BYTES {
            Err(TensorProblem::NameLength { length: name.len() })
        } else if !names.insert(name.clone()) {
            Err(TensorProblem::Duplicate)
        } else {
            plane_lengths(layout, &dims, group).map_err(TensorProblem::from)
        };
        let lengths = match result {
            Ok(lengths) => lengths,
            Err(problem) => return Err(KingletError::Tensor { name, problem }),
        };
        let mut offsets = Vec::with_capacity(lengths.lengths().len());
        for &length in lengths.lengths() {
            offsets.push(end);
            end = index::padded(length)
                .and_then(|n| end.checked_add(n))
                .filter(|&end| end < 1 << 62)
                .ok_or(KingletError::FileTooLarge)?;
        }
        planned.push(Planned { name, role, form: Form { dims, layout, group }, lengths, offsets });
    }
    Ok((planned, end))
}
