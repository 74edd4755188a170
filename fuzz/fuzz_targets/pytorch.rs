//! Any bytes as a PyTorch archive, a PyTorch stream, or the pickle of an archive.
#![no_main]

use kinglet_formats::checkpoint::Pytorch;
use kinglet_formats::map::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    read(data);
    // The checks of the archive stand before the pickle: it is reached sooner without them.
    read(&archive(data));
});

fn read(file: &[u8]) {
    if let Ok(checkpoint) = Pytorch::parse(Bytes::copy_of(file), "fuzz") {
        kinglet_fuzz::read_all(&checkpoint, file.len());
    }
}

/// A zip archive with `pickle` and one storage of 24 bytes.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in [("m/data.pkl", pickle), ("m/data/0", &[1; 24])] {
        let numbers = [(content.len() as u32).to_le_bytes(); 2].concat();
        directory.extend(b"PK\x01\x02");
        directory.extend([0; 16]);
        directory.extend(&numbers);
        directory.extend((name.len() as u16).to_le_bytes());
        directory.extend([0; 12]);
        directory.extend((file.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        file.extend(b"PK\x03\x04");
        file.extend([0; 14]);
        file.extend(&numbers);
        file.extend((name.len() as u16).to_le_bytes());
        file.extend([0; 2]);
        file.extend(name.as_bytes());
        file.extend(content);
    }
    let start = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0\x02\0\x02\0");
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0; 2]);
    file
}
