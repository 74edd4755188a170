//! A file that arrives piece by piece, written to its final place and checked on the way.

use super::error::KingletError;
use super::header::{Header, head_hash};
use super::limits::HEADER;
use super::reader::{KingletFile, in_memory};
use super::{CHUNK, Section};
use crate::map::BytesMut;

/// Room for a whole file, filled from its start by whoever receives it.
///
/// ```
/// use kinglet_formats::kinglet::{Download, HEADER_BYTES};
///
/// # fn receive(file: &[u8]) -> Result<(), kinglet_formats::kinglet::KingletError> {
/// let mut download = Download::new(&file[..HEADER_BYTES])?;
/// for (i, piece) in file.chunks(1000).enumerate() {
///     download.bytes_mut()[i * 1000..][..piece.len()].copy_from_slice(piece);
///     download.verify(i * 1000 + piece.len())?;
/// }
/// let file = download.finish()?;
/// # Ok(()) }
/// ```
pub struct Download {
    bytes: BytesMut,
    header: Header,
    /// Bytes from the start that are known to be right.
    verified: usize,
}

impl Download {
    /// Makes room for the file that begins with `header`, its first 128 bytes.
    ///
    /// # Errors
    /// If this is not the header of a file that can be read, or there is not enough memory.
    pub fn new(header: &[u8]) -> Result<Self, KingletError> {
        // The header is taken at its word for the length; it is part of the head's hash.
        let stated = header.get(16..24).and_then(|bytes| bytes.try_into().ok());
        let stated = stated.map_or(header.len() as u64, u64::from_le_bytes);
        let parsed = Header::parse(header, stated)?;
        let mut bytes = usize::try_from(stated)
            .ok()
            .and_then(BytesMut::zeroed)
            .ok_or(KingletError::OutOfMemory { needed: stated })?;
        bytes[..HEADER].copy_from_slice(&header[..HEADER]);
        Ok(Self { bytes, header: parsed, verified: 0 })
    }

    /// The whole file's room; its first byte lies at a multiple of 64.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Bytes before the data section.
    pub fn head_len(&self) -> usize {
        self.header.places.sections[Section::Data as usize].start as usize
    }

    /// Checks what is complete among the first `received` bytes and has not been checked before:
    /// the head, then every 4 MiB of data. Gives the number of bytes from the start that are known
    /// to be right. After an error, receive again from [`Download::verified`] on.
    ///
    /// # Errors
    /// If the head or a chunk is damaged.
    pub fn verify(&mut self, received: usize) -> Result<usize, KingletError> {
        let received = received.min(self.bytes.len());
        let [.., table, data] = in_memory(&self.header.places);
        if self.verified < data.start {
            if received < data.start {
                return Ok(self.verified);
            }
            if head_hash(&self.bytes[..data.start]) != self.header.hash {
                return Err(KingletError::HeadHash);
            }
            self.verified = data.start;
        }
        while self.verified < received {
            let end = data.end.min(self.verified + CHUNK);
            if end > received {
                break;
            }
            let chunk = (self.verified - data.start) / CHUNK;
            let hash = blake3::hash(&self.bytes[self.verified..end]);
            let expected = self.bytes[table.clone()].chunks_exact(blake3::OUT_LEN).nth(chunk);
            if expected != Some(hash.as_bytes()) {
                return Err(KingletError::Chunk { chunk });
            }
            self.verified = end;
        }
        Ok(self.verified)
    }

    /// Bytes from the start that are known to be right.
    pub fn verified(&self) -> usize {
        self.verified
    }

    /// The file, once all of it is verified.
    ///
    /// # Errors
    /// If bytes are missing or damaged, or as [`KingletFile::from_bytes`].
    pub fn finish(self) -> Result<KingletFile, KingletError> {
        let expected = self.bytes.len();
        if self.verified < expected {
            let found = self.verified as u64;
            return Err(KingletError::Truncated { expected: expected as u64, found });
        }
        KingletFile::from_bytes(self.bytes.freeze())
    }
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download")
            .field("len", &self.bytes.len())
            .field("verified", &self.verified)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_file_in_pieces_is_the_file() {
        let file = sample::bytes();
        for step in [1000, 4096, file.len()] {
            let mut download = Download::new(&file[..HEADER]).unwrap();
            assert_eq!(download.bytes_mut().as_ptr() as usize % 64, 0);
            let mut received = 0;
            for piece in file.chunks(step) {
                download.bytes_mut()[received..][..piece.len()].copy_from_slice(piece);
                received += piece.len();
                let verified = download.verify(received).unwrap();
                assert_eq!(verified >= download.head_len(), received >= download.head_len());
            }
            assert_eq!(download.verified(), file.len());
            let opened = download.finish().unwrap();
            assert!(**opened.bytes() == *file);
        }
    }

    #[test]
    fn damage_is_found_and_mended_by_receiving_again() {
        let file = sample::bytes();
        let mut download = Download::new(&file[..HEADER]).unwrap();
        download.bytes_mut().copy_from_slice(&file);
        let head = download.head_len();

        download.bytes_mut()[HEADER + 1] ^= 1;
        assert!(matches!(download.verify(file.len()), Err(KingletError::HeadHash)));
        assert_eq!(download.verified(), 0);
        download.bytes_mut()[HEADER + 1] ^= 1;

        download.bytes_mut()[head + 1] ^= 1;
        assert!(matches!(download.verify(file.len()), Err(KingletError::Chunk { chunk: 0 })));
        assert_eq!(download.verified(), head);
        download.bytes_mut()[head + 1] ^= 1;
        assert_eq!(download.verify(file.len()).unwrap(), file.len());
        download.finish().unwrap();
    }

    #[test]
    fn an_unfinished_file_is_truncated() {
        let file = sample::bytes();
        let mut download = Download::new(&file[..HEADER]).unwrap();
        download.bytes_mut()[..file.len() - 1].copy_from_slice(&file[..file.len() - 1]);
        download.verify(file.len() - 1).unwrap();
        assert!(matches!(download.finish(), Err(KingletError::Truncated { .. })));
    }

    #[test]
    fn hostile_headers_are_errors() {
        let file = sample::bytes();
        assert!(matches!(Download::new(&file[..100]), Err(KingletError::TooShort { .. })));
        assert!(Download::new(&[]).is_err());
        assert!(Download::new(&[0; HEADER]).is_err());
        // A length that no machine has, made up consistently: the data section takes the rest.
        let mut header = file[..HEADER].to_vec();
        let u64_at = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
        let more = 1u64 << 50;
        header[16..24].copy_from_slice(&(u64_at(16) + more).to_le_bytes());
        header[56..64].copy_from_slice(&(u64_at(56) + more).to_le_bytes());
        assert!(matches!(Download::new(&header), Err(KingletError::OutOfMemory { .. })));
    }
}
