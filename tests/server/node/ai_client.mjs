// The AI SDK from npm against a server: node ai_client.mjs URL. Prints one JSON object.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import assert from "node:assert";

const provider = createOpenAICompatible({
  name: "rill", baseURL: process.argv[2] + "/v1", apiKey: "unused", includeUsage: true,
});
const prompt = "Once upon a time";
const features = {
  chat: async () => {
    const answer = await generateText({ model: provider("tiny"), prompt, maxOutputTokens: 6 });
    assert(answer.text && answer.usage.outputTokens === 6 && answer.finishReason === "length");
  },
  "chat stream": async () => {
    const answer = streamText({ model: provider("tiny"), prompt, maxOutputTokens: 6 });
    let text = "";
    for await (const piece of answer.textStream) text += piece;
    assert(text && (await answer.usage).outputTokens === 6);
  },
  completions: async () => {
    const answer = await generateText({
      model: provider.completionModel("tiny"), prompt, maxOutputTokens: 6,
    });
    assert(answer.text);
  },
  errors: async () => {
    await assert.rejects(generateText({ model: provider("none"), prompt, maxRetries: 0 }),
      (error) => error.statusCode === 404);
  },
  "async cancel": async () => {
    const stop = new AbortController();
    const answer = streamText({
      model: provider("tiny"), prompt, maxOutputTokens: 450, abortSignal: stop.signal,
    });
    for await (const piece of answer.textStream) {
      stop.abort();
      break;
    }
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
