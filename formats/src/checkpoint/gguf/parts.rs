//! Models in several GGUF files: `NAME-00001-of-00003.gguf` and so on. The first has the metadata;
//! every one says its number and how many there are.

use std::path::{Path, PathBuf};

use super::metadata::Entries;
use super::{GgufProblem, Quoted};

/// What a file says about the model that it is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// Its number, from 0.
    pub(super) number: u64,
    /// Of how many.
    pub(super) count: u64,
}

impl Split {
    /// `None` for a file that is a whole model.
    pub(super) fn read(entries: &Entries, bytes: &[u8]) -> Option<Self> {
        let count = entries.u64(bytes, "split.count").filter(|&count| count > 1)?;
        Some(Self { number: entries.u64(bytes, "split.no").unwrap_or(0), count })
    }

    /// Checks that the file at `path` is this part of the model, as its name has it; gives the names
    /// of all parts.
    pub(super) fn names(self, path: &Path) -> Result<Vec<PathBuf>, GgufProblem> {
        let names = names(path).filter(|names| names.len() as u64 == self.count);
        let (number, count) = (self.number.saturating_add(1), self.count);
        names.ok_or(GgufProblem::PartName { number, count })
    }

    /// Checks that a file is part `number` (from 0) of `count`.
    pub(super) fn check(found: Option<Self>, number: usize, count: u64) -> Result<(), GgufProblem> {
        let expected = Self { number: number as u64, count };
        match found {
            Some(found) if found == expected => Ok(()),
            _ => Err(GgufProblem::OtherPart { number: expected.number + 1, count }),
        }
    }
}

/// The names of all parts of a model, first to last, told by the name of one of them; `None` where
/// that is not `NAME-00001-of-00003.gguf`.
pub fn names(path: &Path) -> Option<Vec<PathBuf>> {
    let number = |digits: &str| {
        let is_number = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| digits.parse::<u32>().ok())?
    };
    let name = path.file_name()?.to_str()?;
    let (stem, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, own) = stem.rsplit_once('-')?;
    let (own, count) = (number(own)?, number(count)?);
    let name = |part: u32| path.with_file_name(format!("{stem}-{part:05}-of-{count:05}.gguf"));
    (1..=count).contains(&own).then(|| (1..=count).map(name).collect())
}

/// The error for a part that cannot be read.
pub(super) fn missing(path: &Path, number: usize, count: usize) -> GgufProblem {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    GgufProblem::MissingPart { name: Quoted::from(&*name), number: number + 1, count }
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
