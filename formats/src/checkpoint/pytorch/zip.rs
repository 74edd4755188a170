//! The archive: a zip file whose entries are stored as they are, so that tensors can be used in place.

use std::collections::HashMap;

use super::PytorchProblem;
use super::pickle::Pickle;
use super::state_dict::{StateDict, Storages};

const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const CENTRAL_HEADER: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64_LOCATOR: &[u8] = b"PK\x06\x07";
const END_64: &[u8] = b"PK\x06\x06";
const CENTRAL_SIZE: usize = 46;
const END_SIZE: usize = 22;
const MAX_ENTRIES: usize = 1 << 18;

/// Reads the tensors of an archive.
pub(super) fn read(bytes: &[u8]) -> Result<StateDict, PytorchProblem> {
    let archive = Archive::read(bytes)?;
    let mut pickles = archive.entries.keys().filter(|name| is_pickle(name));
    let missing = || PytorchProblem::MissingEntry { entry: "data.pkl".into() };
    let name = *pickles.next().ok_or_else(missing)?;
    if pickles.next().is_some() {
        return Err(PytorchProblem::SeveralPickles);
    }
    // Everything lies below one folder, named after the file as it was saved.
    let root = name.strip_suffix("data.pkl").unwrap_or_default();
    if let Some((start, len)) = archive.find(&format!("{root}byteorder"))?
        && &bytes[start..start + len] != b"little"
    {
        return Err(PytorchProblem::BigEndian);
    }
    let (start, len) = archive.find(name)?.ok_or_else(missing)?;
    let (pickle, _) = Pickle::read(&bytes[start..start + len])?;
    StateDict::new(&pickle, &Entries { archive, root })
}

fn is_pickle(name: &str) -> bool {
    name == "data.pkl" || name.ends_with("/data.pkl")
}

/// The storages of an archive: one entry each.
struct Entries<'a> {
    archive: Archive<'a>,
    root: &'a str,
}

impl Storages for Entries<'_> {
    fn place(&self, key: &str) -> Result<(usize, u64), PytorchProblem> {
        let entry = format!("{}data/{key}", self.root);
        let place = self.archive.find(&entry)?;
        let (start, len) =
            place.ok_or_else(|| PytorchProblem::MissingEntry { entry: entry.as_str().into() })?;
        Ok((start, len as u64))
    }
}

struct Archive<'a> {
    bytes: &'a [u8],
    entries: HashMap<&'a str, Entry>,
}

struct Entry {
    flags: u16,
    method: u16,
    len: u64,
    header: u64,
}

impl<'a> Archive<'a> {
    /// Reads the directory at the end of the file.
    fn read(bytes: &'a [u8]) -> Result<Self, PytorchProblem> {
        let truncated = PytorchProblem::Truncated { what: "the directory at the archive's end" };
        let Some((count, mut at)) = directory(bytes) else {
            return Err(truncated);
        };
        // Each takes a header, so that a file cannot claim more than fit into it.
        let fit = bytes.len() / CENTRAL_SIZE;
        if count > MAX_ENTRIES.min(fit) as u64 {
            return Err(PytorchProblem::TooMuch {
                what: "entries in the archive",
                max: MAX_ENTRIES.min(fit),
            });
        }
        let mut entries = HashMap::with_capacity(count as usize);
        for _ in 0..count {
            let Some((name, entry, next)) = central_entry(bytes, at) else {
                return Err(truncated);
            };
            at = next;
            // Entries with other names are none of PyTorch's.
            if let Ok(name) = std::str::from_utf8(name) {
                entries.insert(name, entry);
            }
        }
        Ok(Self { bytes, entries })
    }

    /// Start and length of an entry's content.
    fn find(&self, name: &str) -> Result<Option<(usize, usize)>, PytorchProblem> {
        let Some(entry) = self.entries.get(name) else {
            return Ok(None);
        };
        let entry_name = || name.into();
        if entry.flags & 1 != 0 {
            let entry = entry_name();
            return Err(PytorchProblem::Encrypted { entry });
        }
        if entry.method != 0 {
            let entry = entry_name();
            return Err(PytorchProblem::Compressed { entry });
        }
        content(self.bytes, entry)
            .map(Some)
            .ok_or(PytorchProblem::Truncated { what: "an entry of the archive" })
    }
}

/// Number of entries, and where the directory begins.
fn directory(bytes: &[u8]) -> Option<(u64, usize)> {
    // The record ends the file but for a comment, whose length it gives.
    let last = bytes.len().checked_sub(END_SIZE)?;
    let is_end = |&at: &usize| {
        bytes[at..].starts_with(END)
            && u16_at(bytes, at + 20)
                .is_some_and(|comment| at + END_SIZE + comment as usize == bytes.len())
    };
    let end = (last.saturating_sub(0xffff)..=last).rev().find(is_end)?;
    let count = u16_at(bytes, end + 10)?;
    let start = u32_at(bytes, end + 16)?;
    if count != u16::MAX && start != u32::MAX {
        return Some((count.into(), start as usize));
    }
    // Too large for this record: a second one lies before it, found through a third.
    let Some(locator) = end.checked_sub(20).filter(|&at| bytes[at..].starts_with(END_64_LOCATOR))
    else {
        return Some((count.into(), start as usize));
    };
    let end = usize::try_from(u64_at(bytes, locator + 8)?).ok()?;
    if !bytes.get(end..)?.starts_with(END_64) {
        return None;
    }
    let start = usize::try_from(u64_at(bytes, end.checked_add(48)?)?).ok()?;
    Some((u64_at(bytes, end + 32)?, start))
}

/// Name and content of the directory's entry at `at`, and where the next begins.
fn central_entry(bytes: &[u8], at: usize) -> Option<(&[u8], Entry, usize)> {
    let header = bytes.get(at..at.checked_add(CENTRAL_SIZE)?)?;
    if !header.starts_with(CENTRAL_HEADER) {
        return None;
    }
    let [name_len, extra_len, comment_len] =
        [28, 30, 32].map(|field| u16_at(header, field).unwrap_or(0) as usize);
    let rest = &bytes[at + CENTRAL_SIZE..];
    let name = rest.get(..name_len)?;
    let mut extra = rest.get(name_len..name_len + extra_len)?;
    let next = at + CENTRAL_SIZE + name_len + extra_len + comment_len;

    let mut len = u64::from(u32_at(header, 24)?);
    let mut header_at = u64::from(u32_at(header, 42)?);
    let packed_len = u32_at(header, 20)?;
    // Numbers of 64 bits are in an extra field, only those that do not fit above.
    while extra.len() >= 4 {
        let (id, size) = (u16_at(extra, 0)?, u16_at(extra, 2)? as usize);
        let field = extra.get(4..4 + size)?;
        if id == 1 {
            let mut numbers = field.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b));
            if len == u64::from(u32::MAX) {
                len = numbers.next()?;
            }
            if packed_len == u32::MAX {
                numbers.next()?;
            }
            if header_at == u64::from(u32::MAX) {
                header_at = numbers.next()?;
            }
        }
        extra = &extra[4 + size..];
    }
    let entry =
        Entry { flags: u16_at(header, 8)?, method: u16_at(header, 10)?, len, header: header_at };
    Some((name, entry, next))
}

/// Start and length of an entry's content, which follows a header of its own.
fn content(bytes: &[u8], entry: &Entry) -> Option<(usize, usize)> {
    let at = usize::try_from(entry.header).ok()?;
    if !bytes.get(at..)?.starts_with(LOCAL_HEADER) {
        return None;
    }
    let names = usize::from(u16_at(bytes, at + 26)?) + usize::from(u16_at(bytes, at + 28)?);
    let start = at + 30 + names;
    let len = usize::try_from(entry.len).ok()?;
    bytes.get(start..start.checked_add(len)?)?;
    Some((start, len))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
