//! Sessions on disk: tokens, keys and values.
//!
//! ```text
//! magic [8] | version u32 | KV type u32 | model's hash [32] | tokens u64 | computed u64
//! token ids u32 [tokens] | spans of the cache | BLAKE3 of all before [32]
//! ```
//!
//! Numbers are little-endian. A span is as in memory, the same for every kernel set; positions
//! after the computed ones are zero.

use std::io::{Read, Write};

use blake3::Hasher;

use crate::error::{Error, SESSION_VERSION, SessionFileError};
use crate::kernels::Kernels;
use crate::kv::{KvLayout, KvSequence, KvType};

const MAGIC: [u8; 8] = *b"\x89KLSESS\n";
/// Token ids read or written at a time.
const CHUNK_TOKENS: usize = 4096;

/// What is saved of a session.
pub(crate) struct Saved {
    pub(crate) tokens: Vec<u32>,
    pub(crate) computed: usize,
    pub(crate) kv: KvSequence,
}

/// Limits of what is read.
pub(crate) struct Expected<'a> {
    pub(crate) model: &'a [u8; 32],
    pub(crate) vocab_size: usize,
    pub(crate) context_length: usize,
}

/// Writes a session; `kv` holds `computed` of the `tokens`.
pub(crate) fn write(
    out: &mut dyn Write,
    kernels: &Kernels,
    model: &[u8; 32],
    tokens: &[u32],
    computed: usize,
    kv: &KvSequence,
) -> Result<(), Error> {
    let mut hasher = Hasher::new();
    let mut put = |bytes: &[u8]| -> Result<(), SessionFileError> {
        hasher.update(bytes);
        Ok(out.write_all(bytes)?)
    };
    put(&MAGIC)?;
    put(&SESSION_VERSION.to_le_bytes())?;
    put(&kind_number(kv.kind()).to_le_bytes())?;
    put(model)?;
    put(&(tokens.len() as u64).to_le_bytes())?;
    put(&(computed as u64).to_le_bytes())?;
    for id in tokens {
        put(&id.to_le_bytes())?;
    }
    kv.for_each_span(kernels, computed, |span| put(span).map_err(Error::from))?;
    let hash = hasher.finalize();
    Ok(out.write_all(hash.as_bytes()).map_err(SessionFileError::from)?)
}

/// Reads a session. Nothing is allocated before the number that asks for it was checked.
pub(crate) fn read(
    input: &mut dyn Read,
    expected: &Expected<'_>,
    layout: impl FnOnce(KvType) -> KvLayout,
    kernels: &Kernels,
) -> Result<Saved, Error> {
    let mut input = Hashed { input, hasher: Hasher::new() };
    if input.array::<8>()? != MAGIC {
        return Err(SessionFileError::Foreign.into());
    }
    let found = u32::from_le_bytes(input.array()?);
    if found != SESSION_VERSION {
        return Err(SessionFileError::Version { found }.into());
    }
    let found = u32::from_le_bytes(input.array()?);
    let kind = [KvType::F16, KvType::Int8].into_iter().find(|&kind| kind_number(kind) == found);
    let kind = kind.ok_or(SessionFileError::KvType { found })?;
    if input.array::<32>()? != *expected.model {
        return Err(SessionFileError::OtherModel.into());
    }
    let n_tokens = u64::from_le_bytes(input.array()?);
    let computed = u64::from_le_bytes(input.array()?);
    let context_length = expected.context_length;
    if n_tokens > context_length as u64 {
        let wanted = usize::try_from(n_tokens).unwrap_or(usize::MAX);
        return Err(Error::ContextFull { used: 0, wanted, context_length });
    }
    if computed > n_tokens {
        return Err(SessionFileError::Damaged { what: "more tokens computed than held" }.into());
    }
    let (n_tokens, computed) = (n_tokens as usize, computed as usize);
    let mut tokens = Vec::new();
    let mut chunk = [0; 4 * CHUNK_TOKENS];
    while tokens.len() < n_tokens {
        let bytes = &mut chunk[..4 * CHUNK_TOKENS.min(n_tokens - tokens.len())];
        input.fill(bytes)?;
        for id in bytes.as_chunks().0 {
            let id = u32::from_le_bytes(*id);
            if id as usize >= expected.vocab_size {
                return Err(
                    SessionFileError::Damaged { what: "an id outside the vocabulary" }.into()
                );
            }
            tokens.push(id);
        }
    }
    let mut kv = KvSequence::new(layout(kind));
    kv.reserve(kernels, 0, computed)?;
    for span in kv.spans_mut() {
        input.fill(span)?;
    }
    let hash = input.hasher.finalize();
    if input.array::<32>()? != *hash.as_bytes() {
        return Err(SessionFileError::Damaged { what: "its hash does not match" }.into());
    }
    Ok(Saved { tokens, computed, kv })
}

fn kind_number(kind: KvType) -> u32 {
    match kind {
        KvType::F16 => 1,
        KvType::Int8 => 2,
    }
}

/// A reader that hashes what it reads.
struct Hashed<'a> {
    input: &'a mut dyn Read,
    hasher: Hasher,
}

impl Hashed<'_> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SessionFileError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                SessionFileError::Damaged { what: "it is cut off" }
            }
            _ => error.into(),
        })?;
        self.hasher.update(bytes);
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SessionFileError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}
