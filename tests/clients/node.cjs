// OpenAI's package for JavaScript, against a server at OPENAI_BASE_URL.
"use strict";
const assert = require("node:assert/strict");
const { default: OpenAI } = require("openai");

async function main() {
  const client = new OpenAI();
  const messages = [{ role: "user", content: "What is the capital of France?" }];
  const request = { model: "smollm2-135m", messages, temperature: 0, max_completion_tokens: 24 };
  const answer = await client.chat.completions.create(request);
  const text = answer.choices[0].message.content;
  assert.match(text, /Paris/);
  let said = "";
  for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
    said += chunk.choices[0]?.delta.content ?? "";
  }
  assert.equal(said, text);
  // Its helper puts the chunks together by itself.
  const runner = client.chat.completions.stream(request);
  assert.equal(await runner.finalContent(), text);
  const embedded = await client.embeddings.create({ model: "all-minilm-l6-v2", input: ["a", "b"] });
  assert.equal(embedded.data[1].embedding.length, 384);
  const wrong = client.chat.completions.create({ ...request, temperature: 1000 });
  await assert.rejects(wrong, OpenAI.BadRequestError);
  // One that leaves in between is no matter.
  const left = await client.chat.completions.create({ ...request, stream: true, max_completion_tokens: 2000 });
  left.controller.abort();
  console.log(JSON.stringify({ node: "well" }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
