//! One program of all tests that need none of their own: each program is compiled and linked with
//! everything below it. A file beside this folder is a program by itself.

mod chat_prompts;
mod checkpoints;
mod continuations;
mod conversion;
mod families;
mod forms;
mod four_bits;
mod gguf_conversion;
mod gguf_encoders;
mod in_memory;
mod infill;
mod kv_types;
mod minilm;
mod moonshine;
mod named_vocabularies;
mod odd_checkpoints;
mod odd_vocabularies;
mod onnx;
mod packed_folders;
mod qwen_coder;
mod samplers;
mod sections;
mod sentence;
mod sentencepiece;
mod session_files;
mod sessions;
mod sharing;
mod smollm2;
mod tasks;
mod text_to_text;
mod translation;
mod vision;
mod whisper;
