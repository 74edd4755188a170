//! The two hash functions of the file: over the bytes of a piece and over a pair of ids.
//!
//! They are part of the format: the writer places slots with them, the reader probes.

/// FNV-1a over bytes, fed one at a time so that all prefixes of a text cost one pass.
#[derive(Clone, Copy, Debug)]
pub struct PieceHash(u64);

impl PieceHash {
    /// The hash of nothing.
    pub const fn new() -> PieceHash {
        PieceHash(0xcbf2_9ce4_8422_2325)
    }

    /// Of some bytes.
    pub fn of(bytes: &[u8]) -> PieceHash {
        PieceHash::new().then(bytes)
    }

    /// With more bytes behind.
    #[inline]
    pub fn then(mut self, bytes: &[u8]) -> PieceHash {
        for &byte in bytes {
            self = self.then_byte(byte);
        }
        self
    }

    /// With one more byte behind.
    #[inline]
    pub const fn then_byte(self, byte: u8) -> PieceHash {
        PieceHash((self.0 ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// The finished value: the high half places, the low half is the slot's tag.
    #[inline]
    pub const fn finish(self) -> u64 {
        mix(self.0)
    }
}

impl Default for PieceHash {
    fn default() -> Self {
        PieceHash::new()
    }
}

/// Hash of a pair of token ids; the high half places.
#[inline]
pub const fn pair_hash(left: u32, right: u32) -> u64 {
    mix(((left as u64) << 32) | right as u64)
}

/// Where in `capacity` slots the search for `hash` begins.
#[inline]
pub const fn home_slot(hash: u64, capacity: usize) -> usize {
    (((hash >> 32) * capacity as u64) >> 32) as usize
}

const fn mix(mut h: u64) -> u64 {
    h = (h ^ (h >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 29)
}
