// Compiled, never run: the types fit the way the package is used.

import { Kinglet, KingletError, type ModelInfo, type Progress } from 'kinglet';

export async function conversions(files: File[], blob: Blob): Promise<Blob> {
  const converted: Blob = await Kinglet.quantize(files, {
    type: 'f16',
    group: 'row',
    name: 'mine',
    onProgress: ({ phase, loaded, total }) => [phase, loaded / total],
    signal: AbortSignal.timeout(1000),
  });
  // @ts-expect-error: there is no such type
  await Kinglet.quantize(converted, { type: 'int4' });
  return Kinglet.quantize({ 'model.safetensors': blob, 'config.json': blob });
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
  for await (const piece of model.generate('Hello', {
    maxTokens: 5,
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
