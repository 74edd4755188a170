//! Kinglet in the browser: the runtime's types with JavaScript names, and nothing else.
//!
//! ```text
//! new Download(head: Uint8Array)                 first 128 bytes of the file
//!   .length, .headLength, .verified: number      bytes
//!   .pointer(): number                           where the file lies in the module's memory;
//!                                                received bytes go to pointer() + offset
//!   .verify(received: number): number            checks what is complete; bytes known to be right
//!   .finish(threads: number, kv?: string, context?: number): Model
//!                                                consumes the download
//! Model
//!   .info(): ModelInfo
//!   .generate(prompt: string, options?: GenerateOptions): Generation
//!   .chat(contextLength?: number): Chat
//!   .embed(texts: string[], options?: EmbedOptions): Embedding[]
//!   .classify(texts: string[], options?: ClassifyOptions): Classification[]
//!   .tag(texts: string[], options?: TagOptions): Entity[][]
//!   .fillMask(text: string, options?: FillMaskOptions): Fill[][]
//!   .answer(question: string, context: string, options?: AnswerOptions): TextAnswer[]
//!   .rerank(query: string, documents: string[]): Ranked[]
//!   .translate(texts: string[], options?: TranslateOptions): Translation[]
//!   .textToText(texts: string[], options?: TextToTextOptions): TextToText[]
//!   .transcribe(samples: Float32Array, options?: TranscribeOptions): Transcription
//!                                                mono, 16,000 samples a second
//! Chat
//!   .say(text: string, options?: GenerateOptions): Generation
//!   .setSystem(text: string), .push(role: string, content: string), .reset()
//!   .messages(): { role: string, content: string }[]
//! Generation
//!   .prefill(): number                           reads a batch of the prompt; its tokens still due
//!   .next(): string | undefined                  a piece, perhaps empty; undefined at the end
//!   .finishReason: "eos" | "stop" | "max-tokens" | "context-full" | "cancelled" | undefined
//!   .promptTokens, .generatedTokens: number
//!   .transcriber(options?: TranscribeOptions): Transcriber
//! Transcription
//!   .next(): Segment | undefined                 hears up to 30 seconds; undefined at the end
//!   .language: string | undefined, .heard, .seconds: number
//! Transcriber
//!   .push(samples: Float32Array): Heard          hears all that is due if a second is new
//!   .finish(): Heard
//!   .language: string | undefined
//! kernelSet(): string
//! initThreadPool(n: number): Promise<void>       in modules with threads, before `finish(n + 1)`
//! ```
//!
//! Every object has `free()`. Errors are `Error` objects with a `code` (see `error.rs`) and the
//! runtime's message. A memory may grow with any call, so views of it are made anew after each. That
//! of a module with threads is shared; whoever loads the module may bring one of their own, with a
//! maximum that the device accepts: `init({ module_or_path, memory })`.

mod chat;
mod download;
mod error;
mod generation;
mod model;
mod object;
mod options;
mod place;
mod speech;
mod tasks;
mod texts;

pub use chat::Chat;
pub use download::Download;
pub use generation::Generation;
pub use model::Model;
pub use speech::{Transcriber, Transcription};

use wasm_bindgen::prelude::wasm_bindgen;
#[cfg(feature = "threads")]
pub use wasm_bindgen_rayon::init_thread_pool;

/// Name of the kernel set that models in this module use.
#[wasm_bindgen(js_name = kernelSet)]
pub fn kernel_set() -> String {
    kinglet::kernels::available()[0].name.to_owned()
}

/// A panic becomes a JavaScript error with its message; the module cannot be used afterwards.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| {
        wasm_bindgen::throw_val(error::new("internal", &panic.to_string()).into());
    }));
}
