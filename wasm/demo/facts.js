// What is told at the foot of the page.

/** How a model runs, for people; `label` is its name. */
export async function factsOf(model, label) {
  const { kernelSet, threads, memoryBytes, last } = await model.info();
  const facts = { model: label, kernels: kernelSet, threads, memory: `${(memoryBytes / 1e6).toFixed(0)} MB` };
  if (last?.tokensPerSecond) facts.speed = `${last.tokensPerSecond.toFixed(0)} tokens/s`;
  return facts;
}
