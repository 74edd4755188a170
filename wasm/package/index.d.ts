/** What went wrong; the cause is told by `KingletError.code`. */
export type ErrorCode =
  /** The address cannot be reached, or the connection was cut too often. */
  | 'network'
  /** The server refuses; `status` is its answer. */
  | 'http'
  /** A web page or some other file. */
  | 'not-kinglet'
  /** For `quantize`: none of the files is a checkpoint. */
  | 'not-a-checkpoint'
  /** For `quantize`: a file that belongs to the checkpoint was not given. */
  | 'missing-file'
  /** Bytes that differ from what was converted, after a second try. */
  | 'corrupt'
  /** The file at the source is shorter than it should be. */
  | 'truncated'
  /** The file cannot be read any more. */
  | 'unreadable'
  /** The model needs a newer version or is not made for this, or the browser lacks WebAssembly SIMD. */
  | 'unsupported'
  /** The model is larger than WebAssembly's memory. */
  | 'too-large'
  /** The device has not enough memory. */
  | 'out-of-memory'
  /** There is no room to keep the model (`cache: 'required'` only). */
  | 'storage-full'
  /** The model cannot be kept here (`cache: 'required'` only). */
  | 'storage'
  /** The text does not fit the model's context. */
  | 'context-full'
  /** The model's chat template is missing or refuses the conversation. */
  | 'template'
  /** The model's results are not finite numbers. */
  | 'not-finite'
  /** An option is unknown or out of its range. */
  | 'invalid-option'
  /** The model or chat has been disposed of. */
  | 'disposed'
  /** The engine or its worker stopped; load the model again. */
  | 'crashed'
  | 'internal'
  | (string & {});

export class KingletError extends Error {
  readonly name: 'KingletError';
  readonly code: ErrorCode;
  /** The address, for errors of loading. */
  readonly url?: string;
  /** The server's answer, for `http`. */
  readonly status?: number;
  /** Whether the cause may pass: the connection, or a busy server. */
  readonly retryable?: boolean;
}

export interface Progress {
  /** `cache`: from this device; `read`: from a `File`. */
  phase: 'download' | 'read' | 'cache';
  /** Bytes in place. */
  loaded: number;
  /** Bytes of the whole file. */
  total: number;
  bytesPerSecond: number;
  /** `null` while the speed is unknown. */
  secondsLeft: number | null;
}

export type Variant = 'relaxed-threads' | 'simd128-threads' | 'relaxed' | 'simd128';

export type KvType = 'f16' | 'int8';

export interface LoadOptions {
  /** Called at most ten times a second, and at the end. */
  onProgress?: (progress: Progress) => void;
  /** Threads to compute with; the default is one for each core. Always 1 where the page is not cross-origin isolated. */
  threads?: number;
  /**
   * Whether to keep the model on this device. `true` (the default in pages) keeps it if it can;
   * `'required'` fails if it cannot; `'refresh'` fetches it anew; in Node, `{ folder }` names a
   * folder and `false` is the default.
   */
  cache?: boolean | 'required' | 'refresh' | { folder: string };
  /** How keys and values are kept: `int8` takes half the memory of `f16`, the default, for a small loss. */
  kv?: KvType;
  /** Most tokens of a text or a conversation; the default, and the most in any case, is the model's own. */
  context?: number;
  /** Aborts loading; everything is freed. */
  signal?: AbortSignal;
  /** Forces a build of the engine instead of the best one. */
  variant?: Variant;
  /** Connections to try again without any progress; 5. */
  retries?: number;
}

export interface GenerateOptions {
  /** Most tokens to generate. */
  maxTokens?: number;
  /** 0 always takes the likeliest token. */
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repeatPenalty?: number;
  repeatLastN?: number;
  seed?: number;
  /** Texts that end the answer; they are not part of it. */
  stop?: string | string[];
  /** Called while the prompt is read: at the start, after each batch of a few hundred tokens, and at the end. */
  onPrompt?: (progress: PromptProgress) => void;
  /** Stops between two tokens, or two batches of the prompt; the iterator throws the signal's reason. */
  signal?: AbortSignal;
}

/** Tokens of the prompt; with a chat, only of what is new. */
export interface PromptProgress {
  done: number;
  total: number;
}

export interface GenerationStats {
  finishReason: 'eos' | 'stop' | 'max-tokens' | 'context-full' | 'cancelled';
  /** Tokens computed before the first one of the answer; with a chat, only what is new. */
  promptTokens: number;
  generatedTokens: number;
  secondsToFirstToken: number;
  /** After the first token; `null` if there was one at most. */
  tokensPerSecond: number | null;
}

/** An answer in the making. It starts at once; leaving a loop over it stops it. */
export interface Generation extends AsyncIterableIterator<string> {
  /** The whole answer. */
  text(): Promise<string>;
  /** `null` before the end. */
  readonly stats: GenerationStats | null;
}

export interface Message {
  role: 'system' | 'user' | 'assistant' | (string & {});
  content: string;
}

export interface Chat {
  say(content: string, options?: GenerateOptions): Generation;
  messages(): Promise<Message[]>;
  /** Forgets what was said, except the system message. */
  reset(): Promise<void>;
  /** Frees the conversation's memory; the model stays. */
  dispose(): Promise<void>;
}

export interface ModelInfo {
  name: string;
  licence?: string;
  /** Whether it writes text; otherwise it makes vectors. */
  generative: boolean;
  /** Whether `chat` works. */
  chatTemplate: boolean;
  layers: number;
  hiddenSize: number;
  vocabSize: number;
  /** Most tokens of a text or a conversation, as loaded. */
  contextLength: number;
  /** How keys and values are kept; missing in models that make vectors. */
  kv?: KvType;
  /** Tokens of a text that `embed` takes in whole. */
  embeddingTokens: number;
  /** Bytes of weights that are read for each generated token. */
  bytesPerToken: number;
  kernelSet: string;
  variant: Variant;
  threads: number;
  /** Bytes of the engine's memory, the model included. */
  memoryBytes: number;
  fileBytes: number;
  /** Whether the model is kept on this device, and if not, why. */
  stored: boolean;
  storeError: string | null;
  /** Whether this load came from this device. */
  fromStore: boolean;
  loadSeconds: number;
  /** The last answer's counts and speeds. */
  last: GenerationStats | null;
}

export interface Model {
  generate(prompt: string, options?: GenerateOptions): Generation;
  /** `context` is the most tokens the conversation may have; the default, and the most, is what the model was loaded for. */
  chat(options?: { system?: string; context?: number }): Chat;
  embed(text: string, options?: { signal?: AbortSignal }): Promise<Float32Array>;
  embed(texts: Iterable<string>, options?: { signal?: AbortSignal }): Promise<Float32Array[]>;
  info(): Promise<ModelInfo>;
  /** Ends the worker and frees its memory; whatever waits is rejected with `disposed`. */
  dispose(): Promise<void>;
}

export type QuantizeFile = Blob | string | URL;

export interface QuantizeOptions {
  /** Type of the matrices; `int8`. */
  type?: 'int8' | 'f16';
  /** Columns that share a scale; 64. */
  group?: 32 | 64 | 128 | 'row';
  /** Name of the checkpoint, which the model's file records; the file's or folder's own. */
  name?: string;
  /** Called at most ten times a second, and at the end of each phase. */
  onProgress?: (progress: QuantizeProgress) => void;
  /** Gives up; everything is freed. */
  signal?: AbortSignal;
}

export interface QuantizeProgress extends Omit<Progress, 'phase'> {
  /** `read` and `hash` count bytes of the checkpoint, `convert` those of the model. */
  phase: 'read' | 'hash' | 'convert';
}

export interface StoredModel {
  url: string;
  bytes: number;
  /** False for a download that was cut; `load` goes on with it. */
  complete: boolean;
}

export const Kinglet: {
  /** Loads a model from an address, a `File` or bytes; in Node also from a path. */
  load(source: string | URL | Blob | ArrayBuffer | ArrayBufferView, options?: LoadOptions): Promise<Model>;
  /**
   * Turns a checkpoint into a model's file, in a worker of its own: a GGUF file, or a safetensors or
   * PyTorch file with those that lie beside it in a Hugging Face folder (`config.json`,
   * `tokenizer.json`, …), as an array of `File`s or by their names. In Node, files may be paths. The
   * bytes are those that `kinglet quantize` would write.
   */
  quantize(
    checkpoint: QuantizeFile | Iterable<QuantizeFile> | Record<string, QuantizeFile>,
    options?: QuantizeOptions,
  ): Promise<Blob>;
  /** Models kept on this device; in pages only. */
  stored: {
    list(): Promise<StoredModel[]>;
    remove(url: string | URL): Promise<void>;
    clear(): Promise<void>;
  };
};
