// Takes the place of fetch for answers, so that a test decides what comes and when. `plans` has one plan for each
// answer: {pieces, delay, holds, cut} or {status, headers, body}; without a plan the server answers.
window.plans = [];
window.sent = [];
const serverFetch = window.fetch.bind(window);
window.fetch = async (path, options = {}) => {
  const headers = options.headers ?? {};
  if (!/^v1\/(chat\/)?completions$/.test(path)) {
    window.sent.push({ path, headers });
    return serverFetch(path, options);
  }
  window.sent.push({ path, headers, body: JSON.parse(options.body) });
  const plan = window.plans.shift();
  if (!plan) return serverFetch(path, options);
  if (plan.status) return new Response(plan.body, { status: plan.status, headers: plan.headers });
  const isChat = path.includes("chat");
  const choice = (text) => (isChat ? { index: 0, delta: { content: text } } : { index: 0, text });
  let timer;
  const stream = new ReadableStream({
    start(controller) {
      const encoder = new TextEncoder();
      const send = (value) => controller.enqueue(encoder.encode(value));
      const event = (value) => send(`data: ${JSON.stringify(value)}\r\n\r\n`);
      let next = 0;
      const step = () => {
        if (next < plan.pieces.length) {
          send(": ping\n\n");
          event({ choices: [choice(plan.pieces[next])] });
          next += 1;
        } else if (plan.cut) {
          controller.close();
          return;
        } else if (!plan.holds) {
          event({ choices: [{ ...choice(""), finish_reason: plan.finish ?? "stop" }] });
          event({ choices: [], usage: { prompt_tokens: 7, completion_tokens: plan.pieces.length } });
          send("data: [DONE]\n\n");
          controller.close();
          return;
        }
        timer = setTimeout(step, plan.delay ?? 0);
      };
      options.signal.addEventListener("abort", () => {
        clearTimeout(timer);
        controller.error(new DOMException("", "AbortError"));
      });
      step();
    },
  });
  return new Response(stream, { headers: { "Content-Type": "text/event-stream" } });
};
