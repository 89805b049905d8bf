// Requests to the server that served this page.

class ServerError extends Error {
  constructor(message, status, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

const apiKey = {
  get value() {
    return tabOnly.getItem("bitnet:key") ?? kept.getItem("bitnet:key") ?? "";
  },
  get isKept() {
    return kept.getItem("bitnet:key") !== null;
  },
  set(value, keep) {
    tabOnly.removeItem("bitnet:key");
    kept.removeItem("bitnet:key");
    if (value) (keep ? kept : tabOnly).setItem("bitnet:key", value);
  },
};

async function request(path, { body, signal } = {}) {
  const headers = {};
  if (body) headers["Content-Type"] = "application/json";
  if (apiKey.value) headers.Authorization = `Bearer ${apiKey.value}`;
  let response;
  try {
    response = await fetch(path, {
      method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal, cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer. Is it running?", 0);
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response) {
  const text = (await response.text().catch(() => "")).slice(0, 2000);
  let message;
  try {
    message = JSON.parse(text).error?.message;
  } catch {
    message = undefined;
  }
  const retryAfter = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  return new ServerError(
    typeof message === "string" && message ? message : `The server answered ${response.status}.`, response.status,
    Number.isFinite(retryAfter) ? retryAfter : undefined);
}

/** The data of the events of a response of type text/event-stream. Lines may end anywhere in a piece. */
async function* serverEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      pending += value;
      const lines = pending.split(/\r\n|\n|\r(?!$)/);
      pending = lines.pop();
      for (const line of lines) {
        if (line === "" && data.length > 0) {
          yield data.join("\n");
          data = [];
        } else if (line.startsWith("data:")) {
          data.push(line.slice(line[5] === " " ? 6 : 5));
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Streams an answer. `update` gets pieces {text, reasoning}; the result is {finish, usage, timings}. */
async function streamAnswer(path, body, signal, update) {
  const streamed = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await request(path, { body: streamed, signal });
  const result = {};
  for await (const data of serverEvents(response)) {
    if (data === "[DONE]") return result;
    let event;
    try {
      event = JSON.parse(data);
    } catch {
      throw new ServerError("The server sent an event that is not JSON.", response.status);
    }
    if (event.error) throw new ServerError(event.error.message ?? "The server ended the answer.", response.status);
    if (event.usage) result.usage = event.usage;
    if (event.timings) result.timings = event.timings;
    const choice = event.choices?.[0];
    if (!choice) continue;
    if (choice.finish_reason) result.finish = choice.finish_reason;
    const text = choice.delta?.content ?? choice.text ?? "";
    const reasoning = choice.delta?.reasoning_content ?? choice.delta?.reasoning ?? "";
    if (text || reasoning) update({ text, reasoning });
  }
  if (!result.finish) throw new ServerError("The connection ended before the answer did.", 0);
  return result;
}

async function listModels() {
  const answer = await (await request("v1/models")).json();
  return Array.isArray(answer.data) ? answer.data.filter((model) => typeof model?.id === "string") : [];
}
