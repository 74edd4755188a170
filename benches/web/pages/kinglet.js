import { Kinglet } from '/kinglet/index.js';

/** Page load to first token, prefill and decode. */
export async function generation({ threads, prompt, long, decode }) {
  const start = performance.now();
  const model = await Kinglet.load('/models/smollm2-135m.kinglet', { threads, cache: false });
  const first = model.generate(prompt, { temperature: 0, maxTokens: 1 });
  await first.text();
  const firstToken = performance.now() - start;
  const prefilled = model.generate(long, { temperature: 0, maxTokens: 1 });
  await prefilled.text();
  const { promptTokens, secondsToFirstToken } = prefilled.stats;
  const decoded = model.generate(prompt, { temperature: 0, maxTokens: decode });
  await decoded.text();
  const { kernelSet } = await model.info();
  return {
    firstToken, prefill: promptTokens / secondsToFirstToken, promptTokens,
    decode: decoded.stats.tokensPerSecond, generated: decoded.stats.generatedTokens, kernelSet,
  };
}

/** Page load to first vector, and milliseconds for each text. */
export async function embedding({ threads, texts, repeats }) {
  const start = performance.now();
  const model = await Kinglet.load('/models/all-minilm-l6-v2.kinglet', { threads, cache: false });
  await model.embed(texts[0]);
  const firstVector = performance.now() - start;
  const times = [];
  for (const text of texts) {
    await model.embed(text);
    const start = performance.now();
    for (let i = 0; i < repeats; i++) await model.embed(text);
    times.push((performance.now() - start) / repeats);
  }
  const { kernelSet } = await model.info();
  return { firstVector, times, kernelSet };
}
