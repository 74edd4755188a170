//! A file whose pieces go to a JavaScript function.

use std::io::{self, Seek, SeekFrom, Write};

use js_sys::{Function, Uint8Array};
use wasm_bindgen::JsValue;

pub(crate) struct Sink {
    write: Function,
    at: u64,
}

impl Sink {
    pub(crate) fn new(write: Function) -> Self {
        Self { write, at: 0 }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write
            .call2(&JsValue::NULL, &(self.at as f64).into(), &Uint8Array::from(bytes))
            .map_err(|thrown| io::Error::other(format!("{thrown:?}")))?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Sink {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(at) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        self.at = at;
        Ok(at)
    }
}
