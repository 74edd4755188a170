//! Makes the head of a damaged `.kinglet` file fit together again, by the description in
//! `formats/FORMAT.md` and without the reader's code.

const HEADER: usize = 128;

/// Sets magic, version, file length and the lengths of the sections so that they fill the file
/// (except for one of eight seeds), then hashes the chunks and the head.
pub fn seal(file: &mut [u8], seed: u32) {
    let file_len = file.len();
    if file_len < HEADER {
        return;
    }
    if !seed.is_multiple_of(8) {
        file[..16].copy_from_slice(b"\x89KGL\r\n\x1a\n\x01\0\0\0\0\0\0\0");
        put(file, 16, file_len);
        file[96..HEADER].fill(0);
        let mut at = HEADER;
        for field in [24, 32, 40, 48] {
            // Lengths that do not fit become zero, and data is what is left.
            if length(file, field) > file_len - at {
                put(file, field, 0);
            }
            let end = at + length(file, field);
            let next = end.next_multiple_of(64).min(file_len);
            file[end..next].fill(0);
            at = next;
        }
        put(file, 56, file_len - at);
    }
    let Some([.., table, data]) = starts(file) else { return };
    let hashes: Vec<u8> =
        file[data..].chunks(4 << 20).flat_map(|c| *blake3::hash(c).as_bytes()).collect();
    if hashes.len() <= data - table {
        file[table..table + hashes.len()].copy_from_slice(&hashes);
    }
    file[64..96].fill(0);
    let hash = *blake3::hash(&file[..data]).as_bytes();
    file[64..96].copy_from_slice(&hash);
}

/// Where the sections begin.
fn starts(file: &[u8]) -> Option<[usize; 5]> {
    let mut starts = [HEADER; 5];
    for i in 0..4 {
        let end = starts[i].checked_add(length(file, 24 + 8 * i))?;
        starts[i + 1] = end.checked_next_multiple_of(64)?;
    }
    (starts[4] <= file.len()).then_some(starts)
}

fn length(file: &[u8], at: usize) -> usize {
    let mut number = [0; 8];
    number.copy_from_slice(&file[at..at + 8]);
    usize::try_from(u64::from_le_bytes(number)).unwrap_or(usize::MAX)
}

fn put(file: &mut [u8], at: usize, number: usize) {
    file[at..at + 8].copy_from_slice(&(number as u64).to_le_bytes());
}
