//! A model file on its way into the module's memory.

use js_sys::Error;
use kinglet::{ModelOptions, SessionOptions};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{Model, error};

/// Room for a whole model file, which JavaScript fills from its start. The bytes stay where they
/// are: the model uses them in place.
#[wasm_bindgen]
pub struct Download(kinglet_formats::kinglet::Download);

#[wasm_bindgen]
impl Download {
    /// Makes room for the file that begins with `head`, its first 128 bytes or more.
    #[wasm_bindgen(constructor)]
    pub fn new(head: &[u8]) -> Result<Download, Error> {
        kinglet_formats::kinglet::Download::new(head).map(Self).map_err(error::from)
    }

    /// Bytes of the whole file.
    #[wasm_bindgen(getter)]
    pub fn length(&mut self) -> usize {
        self.0.bytes_mut().len()
    }

    /// Bytes before the weights.
    #[wasm_bindgen(getter, js_name = headLength)]
    pub fn head_length(&self) -> usize {
        self.0.head_len()
    }

    /// Bytes from the start that are known to be right.
    #[wasm_bindgen(getter)]
    pub fn verified(&self) -> usize {
        self.0.verified()
    }

    /// Address of the file's first byte in the module's memory.
    pub fn pointer(&mut self) -> *mut u8 {
        self.0.bytes_mut().as_mut_ptr()
    }

    /// Checks what is complete among the first `received` bytes: the head, then every 4 MiB. Gives
    /// the number of bytes from the start that are known to be right. After an error, receive
    /// again from `verified` on.
    pub fn verify(&mut self, received: usize) -> Result<usize, Error> {
        self.0.verify(received).map_err(error::from)
    }

    /// Opens the model, once all of it is verified. More than one thread needs `initThreadPool`
    /// with at least `threads - 1` before. `kv` is how sessions keep keys and values, `f16` (the
    /// default) or `int8`; `context` is the most tokens of one.
    pub fn finish(
        self,
        threads: usize,
        kv: Option<String>,
        context: Option<usize>,
    ) -> Result<Model, Error> {
        let mut sessions = SessionOptions::default();
        if let Some(kv) = kv {
            sessions.kv = kv.parse().map_err(|kv: kinglet::Error| error::from(kv))?;
        }
        sessions.context_length = context;
        let file = self.0.finish().map_err(error::from)?;
        let options = ModelOptions::default().threads(threads).global_pool(true);
        let model = kinglet::Model::from_file(file, &options).map_err(error::from)?;
        Ok(Model::new(model, sessions))
    }
}
