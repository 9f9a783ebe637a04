// openai from npm against a server: node openai_client.mjs URL. Prints one JSON object, a key a feature.
import OpenAI from "openai";
import assert from "node:assert";

const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "unused", maxRetries: 0 });
const messages = [{ role: "user", content: "Once upon a time" }];
const features = {
  models: async () => {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert.deepEqual(ids, ["tiny", "gpt-tiny"]);
  },
  chat: async () => {
    const answer = await client.chat.completions.create({ model: "tiny", messages, max_tokens: 5 });
    assert(answer.choices[0].message.content && answer.usage.total_tokens > 5);
  },
  "chat stream": async () => {
    const stream = await client.chat.completions.create({
      model: "tiny", messages, max_tokens: 5, temperature: 0, stream: true,
      stream_options: { include_usage: true },
    });
    let text = "", usage = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert(text && usage.completion_tokens <= 5);
  },
  // Throws when a field that must come once comes again.
  "stream helper": async () => {
    const runner = client.chat.completions.stream({ model: "tiny", messages, n: 2, max_tokens: 6 });
    const final = await runner.finalChatCompletion();
    assert.equal(final.choices.length, 2);
    assert(final.choices.every((c) => c.message.role === "assistant" && c.finish_reason));
  },
  completions: async () => {
    const answer = await client.completions.create({
      model: "tiny", prompt: ["Once", "The dog"], max_tokens: 4, logprobs: 1,
    });
    assert.equal(answer.choices.length, 2);
  },
  errors: async () => {
    await assert.rejects(client.chat.completions.create({ model: "none", messages }),
      OpenAI.NotFoundError);
    await assert.rejects(
      client.chat.completions.create({ model: "tiny", messages, max_tokens: 1e8 }),
      (error) => error instanceof OpenAI.BadRequestError &&
        error.code === "context_length_exceeded");
  },
  "async cancel": async () => {
    const stream = await client.chat.completions.create({
      model: "tiny", messages, max_tokens: 450, stream: true, ignore_eos: true,
    });
    for await (const chunk of stream) break; // closes the socket
  },
};
const results = {};
for (const [name, run] of Object.entries(features)) {
  try {
    await run();
    results[name] = "";
  } catch (error) {
    results[name] = String(error.stack);
  }
}
console.log(JSON.stringify(results));
