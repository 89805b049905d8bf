// The table of running work, from the server's metrics. It asks only while it is open and the page is visible.

const activity = {
  period: 2000,
  last: undefined,
  timer: undefined,

  start() {
    const panel = byId("activity");
    panel.open = kept.getItem("bitnet:activity") === "open";
    panel.addEventListener("toggle", () => {
      kept.setItem("bitnet:activity", panel.open ? "open" : "closed");
      this.schedule(0);
    });
    document.addEventListener("visibilitychange", () => this.schedule(0));
    this.schedule(0);
  },

  schedule(delay) {
    clearTimeout(this.timer);
    if (!byId("activity").open || document.hidden) {
      this.last = undefined;
      return;
    }
    this.timer = setTimeout(() => this.update(), delay);
  },

  async update() {
    try {
      const text = await (await request("metrics")).text();
      this.show(modelMetrics(text), performance.now());
    } catch (error) {
      this.last = undefined;
      byId("activity-rows").replaceChildren();
      byId("activity-brief").textContent = "";
      byId("activity-note").textContent =
        error.status === 404 ? "The server has no metrics." : `No metrics: ${error.message}`;
    }
    this.schedule(this.period);
  },

  show(models, now) {
    const seconds = this.last ? (now - this.last.now) / 1000 : undefined;
    const rows = [];
    let running = 0;
    let total = 0;
    for (const [name, values] of models) {
      const before = this.last?.models.get(name)?.generated;
      const made = Math.max(0, (values.generated ?? 0) - before);
      const rate = seconds && Number.isFinite(made) ? made / seconds : undefined;
      running += values.running ?? 0;
      total += rate ?? 0;
      rows.push(element(
        "tr", {}, element("td", { title: name }, name), element("td", {}, String(values.running ?? 0)),
        element("td", {}, String(values.waiting ?? 0)),
        element("td", {}, rate === undefined ? "–" : numberText(rate))));
    }
    byId("activity-rows").replaceChildren(...rows);
    byId("activity-note").textContent = rows.length === 0 ? "No model has worked yet." : "";
    byId("activity-brief").textContent = running > 0 ? `${running} running, ${numberText(total)} tokens/s` : "idle";
    this.last = { models, now };
  },
};

const metricNames = {
  "vllm:num_requests_running": "running",
  "vllm:num_requests_waiting": "waiting",
  "vllm:generation_tokens_total": "generated",
  "vllm:generation_tokens": "generated",
};

/** The metrics above of each model, from Prometheus' text. */
function modelMetrics(text) {
  const models = new Map();
  for (const line of text.split("\n")) {
    const name = metricNames[line.split(/[{ ]/, 1)[0]];
    if (!name) continue;
    const label = /[{,]model_name="((?:[^"\\]|\\.)*)"/.exec(line);
    const model = label ? label[1].replace(/\\(.)/g, "$1") : "server";
    const value = Number(line.slice(line.lastIndexOf("}") + 1).trim().split(/\s+/).at(label ? 0 : -1));
    if (!Number.isFinite(value)) continue;
    const values = models.get(model) ?? {};
    values[name] = (values[name] ?? 0) + value;
    models.set(model, values);
  }
  return models;
}

function numberText(value) {
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}
