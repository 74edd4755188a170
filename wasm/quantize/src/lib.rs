//! The quantizer in the browser: checkpoints in the module's memory become a `.kinglet` file, piece
//! by piece.
//!
//! ```text
//! new Conversion(name: string)                   of the checkpoint
//!   .add(name: string, length: number): number   room for a file; its bytes go to the address given
//!   .run(type, group, write, progress)           writes the file
//! onnxFiles(names: string[]): string[]           which of a folder's files are an ONNX model
//! ```
//!
//! `write(at: number, bytes: Uint8Array)` gets the file's pieces: first those of its data, in
//! order, then what stands before them.
//! `progress(stage: string, done: number, total: number)` tells how far it is, in bytes. Errors are
//! `Error` objects with a `code` and the quantizer's message.

mod error;
mod sink;

use std::ops::ControlFlow;

use js_sys::{Error, Function};
use kinglet_formats::checkpoint;
use kinglet_formats::map::BytesMut;
use kinglet_quantize::{Options, Source, Stage, Update, WeightType, quantize_to};
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use sink::Sink;

/// A checkpoint on its way into the module's memory, and out of it as a model.
#[wasm_bindgen]
pub struct Conversion {
    name: String,
    files: Vec<(String, BytesMut)>,
}

#[wasm_bindgen]
impl Conversion {
    /// Of the checkpoint called `name`.
    #[wasm_bindgen(constructor)]
    pub fn new(name: String) -> Self {
        Self { name, files: Vec::new() }
    }

    /// Makes room for a file of `length` bytes, which go to the address that is returned.
    pub fn add(&mut self, name: String, length: f64) -> Result<*mut u8, Error> {
        // More than there can be saturates, and is refused.
        let Some(bytes) = BytesMut::zeroed(length as usize) else {
            let message = format!("{name}: not enough memory for its {length} bytes");
            return Err(error::new("out-of-memory", &message));
        };
        self.files.push((name, bytes));
        Ok(self.files.last_mut().map_or(std::ptr::null_mut(), |(_, bytes)| bytes.as_mut_ptr()))
    }

    /// Converts the files that were added. `dtype` and `group` are words of the command line;
    /// `undefined` stands for its defaults.
    pub fn run(
        self,
        dtype: Option<String>,
        group: Option<String>,
        write: Function,
        progress: &Function,
    ) -> Result<(), Error> {
        let dtype = dtype.map_or(Ok(WeightType::Auto), |dtype| dtype.parse());
        let mut options = Options::of(dtype.map_err(|e| error::option("type", &e))?);
        if let Some(group) = group {
            options.group = group.parse().map_err(|e| error::option("group", &e))?;
        }
        let files = self.files.into_iter().map(|(name, bytes)| (name, bytes.freeze()));
        let source = Source::from_files(&self.name, files).map_err(error::from)?;
        let mut tell = |update: &Update<'_>| {
            let stage = match update.stage {
                Stage::Hash => "hash",
                Stage::Tensors => "convert",
                _ => return ControlFlow::Continue(()),
            };
            let (done, total) = (update.done as f64, update.total as f64);
            // What it throws is the caller's own, and changes nothing here.
            let _ = progress.call3(&JsValue::NULL, &stage.into(), &done.into(), &total.into());
            ControlFlow::Continue(())
        };
        quantize_to(&source, &options, Sink::new(write), &mut tell).map_err(error::from)?;
        Ok(())
    }
}

/// The ONNX files of a folder with files of these names that are one model together; none if there is
/// no such model.
#[wasm_bindgen(js_name = onnxFiles)]
pub fn onnx_files(names: Vec<String>) -> Vec<String> {
    checkpoint::onnx_files(&|name| names.iter().any(|known| known == name))
}

/// A panic becomes a JavaScript error with its message; the module cannot be used afterwards.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| {
        wasm_bindgen::throw_val(error::new("internal", &panic.to_string()).into());
    }));
}
