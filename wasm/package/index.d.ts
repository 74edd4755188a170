/** What went wrong; the cause is told by `KingletError.code`. */
export type ErrorCode =
  /** The address cannot be reached, or the connection was cut too often. */
  | 'network'
  /** The server refuses; `status` is its answer. */
  | 'http'
  /** A web page or some other file. */
  | 'not-kinglet'
  /** None of the files is a checkpoint. */
  | 'not-a-checkpoint'
  /** A file that belongs to the checkpoint was not given, or the repository has none. */
  | 'missing-file'
  /** Bytes that differ from what was converted, after a second try. */
  | 'corrupt'
  /** The file at the source is shorter than it should be. */
  | 'truncated'
  /** The file cannot be read any more. */
  | 'unreadable'
  /** The model needs a newer version or is not for this call (the message names those that fit), or the browser lacks WebAssembly SIMD. */
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
  /** The file is no sound that the browser can decode. */
  | 'not-audio'
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
  /**
   * `cache`: from this device; `read`: from a `File`, or a checkpoint's conversion; `hash` and `convert`: of a checkpoint, which is
   * downloaded before.
   */
  phase: 'download' | 'read' | 'cache' | 'hash' | 'convert';
  /** Bytes in place. */
  loaded: number;
  /** Bytes of the whole file; of a checkpoint, of the file that is on its way. */
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
  /** For checkpoints: type of the matrices; `auto`, which is `int8`, but leaves 4-bit weights of GGUF files as they are. */
  type?: 'auto' | 'int8' | 'int4' | 'f16';
  /** For checkpoints: columns that share a scale; 64, for `int4` 32. */
  group?: 32 | 64 | 128 | 'row';
  /** For models of the hub: its address, or that of a mirror; in Node, `HF_ENDPOINT` is the default. */
  endpoint?: string;
  /** For gated and private models of the hub, which alone is told; in Node, `HF_TOKEN` is the default. */
  token?: string;
}

export interface GenerateOptions {
  /** Most tokens to generate; without it, to the end of the context. */
  maxTokens?: number;
  /** 0 always takes the likeliest token. */
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repeatPenalty?: number;
  repeatLastN?: number;
  /** Taken from the logits of tokens that are among the recent ones. */
  presencePenalty?: number;
  /** Taken from the logits of recent tokens as often as they are among them. */
  frequencyPenalty?: number;
  /** Start of the random sequence: a whole number. */
  seed?: number;
  /** Texts that end the answer; they are not part of it. */
  stop?: string | string[];
  /** Go on after an end-of-text token. */
  ignoreEos?: boolean;
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
  /** The calls that the model is for. */
  tasks: Task[];
  /** Of models that classify or tag, in the order of their outputs; else empty. */
  labels: string[];
  /** How a mask is spelled, such as `[MASK]`; only in models for `fillMask`. */
  mask?: string;
  /** Of models for `embed`: texts that may go before those that are given. */
  prompts: { name: string; text: string }[];
  /** The prompt that does if `embed` names none. */
  defaultPrompt?: string;
  /** Codes of the languages that it reads or hears, and of those that it translates to (none where it cannot); only where the model knows. */
  languages?: { from: string[]; to: string[] };
  /** Whether it continues texts: `generate` is one of its tasks. */
  generative: boolean;
  /** Whether `chat` works. */
  chatTemplate: boolean;
  layers: number;
  hiddenSize: number;
  vocabSize: number;
  /** Most tokens of a text or a conversation, as loaded. */
  contextLength: number;
  /** How keys and values are kept; only in models that write text. */
  kv?: KvType;
  /** Tokens of a text, or of a pair of texts, that an encoder takes in whole, those that it expects around them included. */
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

/** Names of the calls of a model. */
export type Task =
  | 'generate' | 'embed' | 'classify' | 'rerank' | 'tag' | 'fillMask' | 'answer'
  | 'translate' | 'textToText' | 'transcribe';

interface TaskOptions {
  /** Stops between two batches of texts; the promise is rejected at once with the signal's reason. */
  signal?: AbortSignal;
}

export interface EmbedOptions extends TaskOptions {
  /** The name of the model's prompt that goes before each text, or `false` for none; the default is the model's. */
  prompt?: string | false;
  /** Called for each text of which the vector is that of its beginning alone. */
  onTruncated?: (text: { index: number; tokens: number }) => void;
}

export interface ClassifyOptions extends TaskOptions {
  /** For each text another one that belongs to it, such as a hypothesis to a premise. */
  pairs?: string | Iterable<string>;
  /** Labels in place of the model's own, by a model of natural language inference. */
  labels?: string | Iterable<string>;
  /** With `labels`: several may be right, each for itself; otherwise their scores sum to one. */
  multi?: boolean;
  /** With `labels`: a statement about the text, in which `{}` is the label; `This example is {}.` */
  template?: string;
  /** Only the best labels, this many. */
  top?: number;
}

export interface Classification {
  /** The best first. */
  results: { label: string; score: number }[];
  /** Tokens of the whole text, those that the model expects around it included. */
  tokens: number;
  /** Whether the results are those of the text's beginning alone. */
  truncated: boolean;
}

export type Aggregation = 'none' | 'simple' | 'first' | 'average' | 'max';

export interface TagOptions extends TaskOptions {
  /**
   * How labels of tokens become labels of words and phrases. `none` gives each token; `simple`, the default, joins neighbours of
   * one label; `first`, `average` and `max` first give each word the label of its first token, the one with the best mean, or
   * that of its surest token.
   */
  aggregation?: Aggregation;
  /** Tokens that the windows of a long text have in common; a quarter of a window. */
  stride?: number;
}

/** A part of a text: `text.slice(start, end)`. */
export interface Entity {
  label: string;
  score: number;
  text: string;
  /** In UTF-16 code units, as JavaScript counts. */
  start: number;
  end: number;
}

export interface FillMaskOptions extends TaskOptions {
  /** Tokens for each mask; 5. */
  k?: number;
}

export interface Fill {
  token: string;
  id: number;
  score: number;
  /** The text with this token in the mask's place. */
  text: string;
}

export interface AnswerOptions extends TaskOptions {
  /** Answers at most; 1. */
  top?: number;
  /** Whether "no answer" may be one: an empty text with its score. */
  noAnswer?: boolean;
  /** Tokens of an answer at most; 15. */
  maxTokens?: number;
  /** Tokens read together; 384, or what the model takes. */
  window?: number;
  /** Tokens that windows have in common; 128, or half of a window. */
  stride?: number;
}

/** A part of a text: `context.slice(start, end)`. */
export interface TextAnswer {
  text: string;
  score: number;
  /** In UTF-16 code units, as JavaScript counts. */
  start: number;
  end: number;
}

export interface RerankOptions extends TaskOptions {
  /** Only the best documents, this many. */
  top?: number;
}

export interface Ranked {
  /** The document's number among those that were given. */
  index: number;
  score: number;
  /** Tokens of query and document, those that the model expects around them included. */
  tokens: number;
  /** Whether the longer of the two was cut. */
  truncated: boolean;
}

interface AnsweringOptions extends TaskOptions {
  /** Answers that are followed side by side; 1 takes the likeliest word each time; the default is the model's. */
  beams?: number;
  /** Called after each batch of texts. */
  onProgress?: (texts: { done: number; total: number }) => void;
}

export interface TranslateOptions extends AnsweringOptions {
  /** Code of the texts' language, one of `info().languages.from`; may be left out where there is one, or none. */
  from?: string;
  /** Code of the language to translate to, one of `info().languages.to`; may be left out where there is one. */
  to?: string;
}

export interface Translation {
  /** With the white space, list marks and lines without letters of the source. */
  text: string;
  /** Mean over its sentences of the log-probability for each token. */
  score: number;
}

export interface TextToTextOptions extends AnsweringOptions {
  /** Most tokens of an answer. */
  maxTokens?: number;
}

export interface TextToTextAnswer {
  text: string;
  /** Its log-probability, divided by its length. */
  score: number;
  /** Tokens of the text that was read, those that the model expects around it included. */
  tokens: number;
  /** Whether only the text's beginning was read. */
  truncated: boolean;
}

export interface TranscribeOptions extends TaskOptions {
  /** Code of the language that is spoken, one of `info().languages.from`; `auto`, the default, tells it by the first 30 seconds. */
  language?: string;
  /** `translate` writes English, whatever is spoken. */
  task?: 'transcribe' | 'translate';
  /** `word` tells when each word is spoken, besides. */
  timestamps?: 'segment' | 'word';
  /** Called with each segment as soon as it is written. */
  onSegment?: (segment: Segment) => void;
  /** Seconds of sound that have been heard, at the start, after each segment and at the end. */
  onProgress?: (seconds: { done: number; total: number }) => void;
}

/** A sentence or a part of one. */
export interface Segment {
  /** In seconds. */
  start: number;
  end: number;
  /** With the blank before it, if there is one. */
  text: string;
  /** With `timestamps: 'word'`. */
  words?: Word[];
  /** Mean log-probability of the tokens that were written at a time. */
  logprob: number;
  /** How probable it is that nobody speaks. */
  noSpeech: number;
}

export interface Word {
  /** In seconds. */
  start: number;
  end: number;
  /** With its punctuation, and with the blank before it, if there is one. */
  word: string;
  /** Mean probability of its tokens. */
  probability: number;
}

export interface ListenOptions extends Pick<TranscribeOptions, 'language' | 'task' | 'timestamps'> {
  /** Called whenever more has been heard. */
  onHeard?: (heard: Heard) => void;
}

/** What is known of speech that is going on. */
export interface Heard {
  /** Segments that are over since the last time. */
  segments: Segment[];
  /** Words after those segments that stay as they are. */
  stable: string;
  /** Words after them that may change. */
  tentative: string;
}

/** Speech that is written down while it is spoken. */
export interface Listening {
  /** Takes more sound, mono, 16,000 samples a second. It is heard when a second is new and the engine is free. What goes wrong is told by `finish`. */
  push(samples: Float32Array): void;
  /** Writes down what is left: all that was said. */
  finish(): Promise<Transcript>;
  /** Stops listening; what is not written down is forgotten. */
  dispose(): Promise<void>;
}

export interface Transcript {
  text: string;
  /** Code of the language that was heard; `null` if nothing was, or the model knows one alone. */
  language: string | null;
  segments: Segment[];
}

export interface Model {
  generate(prompt: string, options?: GenerateOptions): Generation;
  /** `context` is the most tokens the conversation may have; the default, and the most, is what the model was loaded for. */
  chat(options?: { system?: string; context?: number }): Chat;
  /** The text's vector. */
  embed(text: string, options?: EmbedOptions): Promise<Float32Array>;
  embed(texts: Iterable<string>, options?: EmbedOptions): Promise<Float32Array[]>;
  /** Labels with scores: the model's own or, with `labels`, any. */
  classify(text: string, options?: ClassifyOptions): Promise<Classification>;
  classify(texts: Iterable<string>, options?: ClassifyOptions): Promise<Classification[]>;
  /** Names, places and the like, in the order of the text; all of a long one is read. */
  tag(text: string, options?: TagOptions): Promise<Entity[]>;
  tag(texts: Iterable<string>, options?: TagOptions): Promise<Entity[][]>;
  /** For each mask of the text (`info` tells how it is spelled) the likeliest tokens, while the other masks stay. */
  fillMask(text: string, options?: FillMaskOptions): Promise<Fill[][]>;
  /** The parts of `context` that answer, the best first; all of a long one is read. */
  answer(question: string, context: string, options?: AnswerOptions): Promise<TextAnswer[]>;
  /** Documents, the best first. */
  rerank(query: string, docs: Iterable<string>, options?: RerankOptions): Promise<Ranked[]>;
  /** The text in another language, sentence by sentence. */
  translate(text: string, options?: TranslateOptions): Promise<Translation>;
  translate(texts: Iterable<string>, options?: TranslateOptions): Promise<Translation[]>;
  /** What a model that reads a text answers to it; what it shall do stands in the text where it was trained so: `summarize: …`. */
  textToText(text: string, options?: TextToTextOptions): Promise<TextToTextAnswer>;
  textToText(texts: Iterable<string>, options?: TextToTextOptions): Promise<TextToTextAnswer[]>;
  /**
   * What is said. Files and `AudioBuffer`s have any rate and number of channels, and are decoded by the browser; samples, and in
   * Node there are no others, are mono and 16,000 a second.
   */
  transcribe(sound: Blob | AudioBuffer | Float32Array, options?: TranscribeOptions): Promise<Transcript>;
  /** Writes down speech while it is spoken: words stay once two hearings agree on them. */
  listen(options?: ListenOptions): Listening;
  info(): Promise<ModelInfo>;
  /** Ends the worker and frees its memory; whatever waits is rejected with `disposed`. */
  dispose(): Promise<void>;
}

export type QuantizeFile = Blob | string | URL;

export interface QuantizeOptions {
  /** Type of the matrices; `auto`, which is `int8`, but leaves 4-bit weights of GGUF files as they are. */
  type?: 'auto' | 'int8' | 'int4' | 'f16';
  /** Columns that share a scale; 64, for `int4` 32. */
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
  /** Its address, or `hf:org/name`; behind `#`, how a checkpoint was converted if not as usual. */
  url: string;
  bytes: number;
  /** False for a download that was cut; `load` goes on with it. */
  complete: boolean;
}

export const Kinglet: {
  /**
   * Loads a model from an address, a `File` or bytes; in Node also from a path. A model of the
   * Hugging Face hub goes by its name: `org/name` or `hf:org/name`, with `:file` (or a part of a
   * GGUF file's name, such as `:Q8_0`) and `@revision` behind it. It, and a GGUF or safetensors
   * file at an address, is converted as it arrives, and its conversion is kept. `./org/name` is always
   * an address.
   */
  load(source: string | URL | Blob | ArrayBuffer | ArrayBufferView, options?: LoadOptions): Promise<Model>;
  /**
   * Turns a checkpoint into a model's file, in a worker of its own: a GGUF file, or a safetensors,
   * PyTorch or ONNX file with those that lie beside it in a Hugging Face folder (`config.json`,
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
