// Compiled, never run: the types fit the way the package is used.

import { Kinglet, KingletError, type Classification, type Entity, type Listening, type Model, type ModelInfo, type Progress, type Segment, type Task, type Transcript } from 'kinglet';

export async function conversions(files: File[], blob: Blob): Promise<Blob> {
  const converted: Blob = await Kinglet.quantize(files, {
    type: 'f16',
    group: 'row',
    name: 'mine',
    onProgress: ({ phase, loaded, total }) => [phase, loaded / total],
    signal: AbortSignal.timeout(1000),
  });
  // @ts-expect-error: there is no such type
  await Kinglet.quantize(converted, { type: 'int3' });
  return Kinglet.quantize({ 'model.safetensors': blob, 'config.json': blob });
}

export async function readings(model: Model, signal: AbortSignal): Promise<string> {
  const one: Classification = await model.classify('a delight', { top: 1, signal });
  const many: Classification[] = await model.classify(new Set(['a', 'b']), { pairs: ['c', 'd'] });
  await model.classify('a', { labels: ['b', 'c'], multi: true, template: 'It is {}.' });
  const { label, score } = one.results[0] ?? many[0].results[0];
  const entities: Entity[] = await model.tag('Zoë', { aggregation: 'first', stride: 8 });
  const lists: Entity[][] = await model.tag(['Zoë']);
  const [[{ token, id }]] = await model.fillMask('a [MASK]', { k: 1 });
  const [{ start, end, text }] = await model.answer('Who?', 'Ada.', { top: 2, noAnswer: true, maxTokens: 5, window: 64 });
  const [{ index, truncated }] = await model.rerank('a bird', ['a wren'], { top: 1 });
  const vector: Float32Array = await model.embed('a', { prompt: false, onTruncated: ({ index, tokens }) => index + tokens });
  // @ts-expect-error: there is no such aggregation
  await model.tag('a', { aggregation: 'best' });
  // @ts-expect-error: a question needs a text
  await model.answer('Who?');
  const tasks: Task[] = (await model.info()).tasks;
  return [label, score, entities, lists, token, id, start, end, text, index, truncated, vector, tasks].join();
}

export async function answers(model: Model, file: File, buffer: AudioBuffer, signal: AbortSignal): Promise<string> {
  const { text, score } = await model.translate('A bird.', { from: 'en', to: 'pt', beams: 2, signal });
  const [{ text: other }] = await model.translate(new Set(['a']), { onProgress: ({ done, total }) => done / total });
  const { tokens, truncated } = await model.textToText('summarize: a bird', { beams: 4, maxTokens: 20 });
  const segments: Segment[] = [];
  const heard: Transcript = await model.transcribe(file, {
    language: 'de',
    task: 'translate',
    signal,
    onSegment: (segment) => segments.push(segment),
    onProgress: ({ done, total }) => done / total,
  });
  const [{ words = [] }] = (await model.transcribe(buffer, { timestamps: 'word' })).segments;
  const listening: Listening = model.listen({ language: 'en', onHeard: ({ segments, stable, tentative }) => [segments, stable, tentative] });
  listening.push(new Float32Array(1600));
  segments.push(...(await listening.finish()).segments);
  await model.transcribe(new Float32Array(16_000), { language: 'auto' });
  // @ts-expect-error: there is no such task
  await model.transcribe(file, { task: 'sing' });
  // @ts-expect-error: a text is no sound
  await model.transcribe('talk.mp3');
  const { from = [], to = [] } = (await model.info()).languages ?? {};
  const [{ start, end }] = heard.segments;
  return [text, score, other, words[0].word, tokens, truncated, heard.text, heard.language, start, end, ...from, ...to].join();
}

export async function everything(file: File): Promise<ModelInfo> {
  const stop = new AbortController();
  const model = await Kinglet.load(file, {
    onProgress: ({ loaded, total, secondsLeft }: Progress) => [loaded / total, secondsLeft ?? 0],
    threads: 2,
    cache: 'required',
    variant: 'relaxed-threads',
    kv: 'int8',
    context: 2048,
    signal: stop.signal,
  });
  const fromHub = await Kinglet.load('hf:org/name:Q8_0', { type: 'f16', group: 32, token: 'hf_x', endpoint: 'https://mirror.example' });
  await fromHub.dispose();
  for await (const piece of model.generate('Hello', {
    maxTokens: 5,
    ignoreEos: true,
    stop: 'x',
    seed: 1,
    onPrompt: ({ done, total }) => done / total,
  })) {
    piece.toUpperCase();
  }
  const chat = model.chat({ system: 'Be brief.' });
  const answer = chat.say('Hello');
  const text: string = await answer.text();
  const speed: number | null | undefined = answer.stats?.tokensPerSecond;
  const one: Float32Array = await model.embed(text);
  const many: Float32Array[] = await model.embed([text, String(speed), String(one)]);
  // @ts-expect-error: a number is no text
  await model.embed(many.length);
  // @ts-expect-error: there is no such option
  model.generate('Hello', { heat: 1 });
  try {
    await model.dispose();
  } catch (error) {
    if (error instanceof KingletError && error.code === 'http') error.status?.toFixed();
  }
  return model.info();
}
