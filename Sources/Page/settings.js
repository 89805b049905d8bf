// Settings: sampling for all conversations, the system prompt and the mode of one, the key, the appearance.

const samplingFields = [
  { name: "temperature", label: "Temperature", low: 0, high: 100 },
  { name: "top_p", label: "Top-p", low: 0, high: 1 },
  { name: "top_k", label: "Top-k", low: 0, high: 1_000_000, whole: true },
  { name: "min_p", label: "Min-p", low: 0, high: 1 },
  { name: "max_tokens", label: "Max tokens", low: 1, high: 10_000_000, whole: true },
  { name: "seed", label: "Seed", low: 0, high: Number.MAX_SAFE_INTEGER, whole: true },
  { name: "presence_penalty", label: "Presence penalty", low: -2, high: 2 },
  { name: "frequency_penalty", label: "Frequency penalty", low: -2, high: 2 },
  { name: "repetition_penalty", label: "Repetition penalty", low: 0.01, high: 100 },
];

const themes = ["system", "light", "dark"];

const settings = {
  values: {},

  load() {
    const saved = store.read("bitnet:settings") ?? {};
    for (const field of samplingFields) {
      if (isFitting(field, saved[field.name])) this.values[field.name] = saved[field.name];
    }
    if (Array.isArray(saved.stop)) this.values.stop = saved.stop.filter((text) => typeof text === "string");
    this.theme = themes.includes(saved.theme) ? saved.theme : "system";
    this.applyTheme();
  },

  save() {
    store.write("bitnet:settings", { ...this.values, theme: this.theme });
  },

  /** The fields of a request. */
  get sampling() {
    const { stop, ...others } = this.values;
    return stop?.length > 0 ? { ...others, stop } : others;
  },

  applyTheme() {
    if (this.theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.theme;
    const button = byId("theme");
    button.setAttribute("aria-label", `Appearance: ${this.theme}. Change`);
    button.title = `Appearance: ${this.theme}`;
  },

  setTheme(theme) {
    this.theme = theme;
    this.applyTheme();
    this.save();
  },

  /** Makes the form; `page` has the current conversation and the actions on all. */
  start(page) {
    for (const field of samplingFields) byId("sampling").append(this.fieldElement(field));
    byId("stop-texts").addEventListener("change", (event) => {
      const texts = event.target.value.split("\n").filter((text) => text !== "");
      if (texts.length > 0) this.values.stop = texts; else delete this.values.stop;
      this.save();
    });
    byId("reset").addEventListener("click", () => {
      this.values = {};
      this.save();
      this.fill(page.current);
    });
    byId("system").addEventListener("input", (event) => {
      page.current.system = event.target.value;
      page.changed();
    });
    for (const radio of document.getElementsByName("mode")) {
      radio.addEventListener("change", () => {
        page.current.mode = radio.value;
        page.changed();
        page.show();
      });
    }
    for (const radio of document.getElementsByName("theme")) {
      radio.addEventListener("change", () => this.setTheme(radio.value));
    }
    byId("theme").addEventListener("click", () => {
      this.setTheme(themes[(themes.indexOf(this.theme) + 1) % themes.length]);
    });
    const setKey = () => apiKey.set(byId("key").value.trim(), byId("remember").checked);
    byId("key").addEventListener("change", () => { setKey(); page.loadModels(); });
    byId("remember").addEventListener("change", setKey);
    byId("open-settings").addEventListener("click", () => this.open(page.current));
    byId("settings").addEventListener("click", (event) => {
      if (event.target === byId("settings")) byId("settings").close();
    });
    this.startTransfer(page);
  },

  open(conversation, focused) {
    this.fill(conversation);
    byId("data-note").textContent = "";
    document.body.classList.remove("sidebar-open");
    byId("settings").showModal();
    if (focused) byId(focused).focus();
  },

  fill(conversation) {
    byId("system").value = conversation.system;
    for (const radio of document.getElementsByName("mode")) radio.checked = radio.value === conversation.mode;
    for (const radio of document.getElementsByName("theme")) radio.checked = radio.value === this.theme;
    for (const field of samplingFields) {
      const input = byId(`sampling-${field.name}`);
      input.value = this.values[field.name] ?? "";
      this.check(field, input);
    }
    byId("stop-texts").value = (this.values.stop ?? []).join("\n");
    byId("key").value = apiKey.value;
    byId("remember").checked = apiKey.isKept;
  },

  fieldElement(field) {
    const id = `sampling-${field.name}`;
    const input = element("input", {
      id, inputmode: field.low < 0 || !field.whole ? "decimal" : "numeric", placeholder: "default",
      "aria-describedby": `${id}-wrong`,
    });
    input.addEventListener("input", () => {
      const value = this.check(field, input);
      if (value === undefined) delete this.values[field.name];
      else this.values[field.name] = value;
      this.save();
    });
    const wrong = element("span", { id: `${id}-wrong`, class: "wrong" });
    return element("label", { class: "field" }, field.label, input, wrong);
  },

  /** The number in a field, or nothing if it is empty or wrong, which the field then says. */
  check(field, input) {
    const text = input.value.trim();
    const value = text === "" ? undefined : Number(text.replace(",", "."));
    const isWrong = value !== undefined && !isFitting(field, value);
    input.setAttribute("aria-invalid", String(isWrong));
    const kind = field.whole ? "a whole number" : "a number";
    const range = field.high > 100 ? `of ${field.low} or more` : `from ${field.low} to ${field.high}`;
    byId(`${input.id}-wrong`).textContent = isWrong ? `Expected ${kind} ${range}.` : "";
    return isWrong ? undefined : value;
  },

  startTransfer(page) {
    const note = (text) => { byId("data-note").textContent = text; };
    byId("export").addEventListener("click", () => {
      const address = URL.createObjectURL(new Blob([store.exported()], { type: "application/json" }));
      const day = new Date().toISOString().slice(0, 10);
      element("a", { href: address, download: `conversations-${day}.json` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 10_000);
    });
    byId("import").addEventListener("click", () => byId("import-file").click());
    byId("import-file").addEventListener("change", async (event) => {
      const [file] = event.target.files;
      event.target.value = "";
      if (!file) return;
      try {
        if (file.size > 50_000_000) throw new Error("The file is larger than 50 MB.");
        const count = store.imported(await file.text());
        note(`${count} ${count === 1 ? "conversation" : "conversations"} imported.`);
        page.show();
      } catch (error) {
        note(error.message);
      }
    });
    byId("clear").addEventListener("click", () => {
      const button = byId("clear");
      if (button.dataset.asked) {
        delete button.dataset.asked;
        button.textContent = "Delete all";
        page.removeAll();
        note("All conversations are deleted.");
      } else {
        button.dataset.asked = "yes";
        button.textContent = "Really delete all?";
        setTimeout(() => { delete button.dataset.asked; button.textContent = "Delete all"; }, 5000);
      }
    });
  },
};

function isFitting(field, value) {
  return typeof value === "number" && value >= field.low && value <= field.high
    && (!field.whole || Number.isSafeInteger(value));
}
