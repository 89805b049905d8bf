// The page: the current conversation, answers in progress, the list, keys.

const page = {
  current: undefined,
  models: [],
  /** Answers in progress by conversation: {controller, message, started}. */
  answers: new Map(),
  drafts: new Map(),
  items: new WeakMap(),

  start() {
    store.load();
    settings.load();
    settings.start(this);
    activity.start();
    this.current = store.conversations.get(kept.getItem("bitnet:current") ?? "") ?? newConversation();
    this.listen();
    this.show();
    this.loadModels();
    if (matchMedia("(hover: hover)").matches) byId("prompt").focus();
  },

  listen() {
    byId("new").addEventListener("click", () => this.open(newConversation(this.current)));
    byId("filter").addEventListener("input", () => this.showList());
    byId("title").addEventListener("change", (event) => {
      this.current.title = event.target.value.trim();
      this.changed();
      this.show();
    });
    byId("model").addEventListener("change", (event) => {
      this.current.model = event.target.value;
      kept.setItem("bitnet:model", event.target.value);
      this.changed();
    });
    byId("composer").addEventListener("submit", (event) => { event.preventDefault(); this.send(); });
    byId("stop").addEventListener("click", () => this.stop());
    const prompt = byId("prompt");
    prompt.addEventListener("input", () => this.draftChanged());
    prompt.addEventListener("keydown", (event) => {
      if (isPlainEnter(event)) { event.preventDefault(); this.send(); }
    });
    document.addEventListener("keydown", (event) => this.key(event));
    byId("open-sidebar").addEventListener("click", () => this.setSidebar(true));
    byId("close-sidebar").addEventListener("click", () => this.setSidebar(false));
    byId("shade").addEventListener("click", () => this.setSidebar(false));
    byId("scroll").addEventListener("scroll", () => this.showLatestButton());
    byId("latest").addEventListener("click", () => { this.scrollToEnd(); byId("prompt").focus(); });
    window.addEventListener("storage", (event) => this.changedElsewhere(event));
    window.addEventListener("pagehide", () => {
      for (const id of this.answers.keys()) store.save(store.conversations.get(id) ?? this.current);
    });
  },

  key(event) {
    if (byId("settings").open) return;
    if (event.key === "Escape") {
      if (document.body.classList.contains("sidebar-open")) this.setSidebar(false);
      else if (this.answers.has(this.current.id)) this.stop();
    } else if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey) {
      if (event.target.closest("input, textarea, select")) return;
      event.preventDefault();
      byId("prompt").focus();
    }
  },

  setSidebar(isOpen) {
    document.body.classList.toggle("sidebar-open", isOpen);
    byId("open-sidebar").setAttribute("aria-expanded", String(isOpen));
    byId(isOpen ? "close-sidebar" : "open-sidebar").focus();
  },

  async loadModels() {
    try {
      this.models = await listModels();
      this.say();
    } catch (error) {
      this.models = [];
      const [label, action] = error.status === 401
        ? ["Enter a key", () => settings.open(this.current, "key")] : ["Try again", () => this.loadModels()];
      this.say(error.message, label, action);
    }
    this.showModels();
  },

  say(text, label, action) {
    const banner = byId("banner");
    banner.hidden = text === undefined;
    banner.replaceChildren(...(text === undefined ? [] : [text, textButton(label, action)]));
  },

  // Conversations

  open(conversation) {
    this.drafts.set(this.current.id, byId("prompt").value);
    this.current = conversation;
    kept.setItem("bitnet:current", conversation.id);
    byId("prompt").value = this.drafts.get(conversation.id) ?? "";
    document.body.classList.remove("sidebar-open");
    this.show();
    this.scrollToEnd();
    byId("prompt").focus();
  },

  /** Saves the current conversation, once it has a message or anything else worth keeping. */
  changed(conversation = this.current) {
    if (conversation.messages.length === 0 && !store.conversations.has(conversation.id)) return;
    conversation.updated = Date.now();
    if (store.conversations.has(conversation.id)) {
      store.save(conversation);
    } else {
      store.add(conversation);
      kept.setItem("bitnet:current", conversation.id);
    }
  },

  remove(conversation) {
    this.answers.get(conversation.id)?.controller.abort();
    const wasCurrent = conversation === this.current;
    store.remove(conversation.id);
    if (wasCurrent) this.open(store.sorted()[0] ?? newConversation());
    this.showList();
    toast("Conversation deleted.", "Undo", () => {
      store.add(conversation);
      if (wasCurrent) this.open(conversation); else this.showList();
    });
  },

  removeAll() {
    for (const { controller } of this.answers.values()) controller.abort();
    for (const id of [...store.conversations.keys()]) store.remove(id);
    this.open(newConversation());
  },

  changedElsewhere({ key, newValue }) {
    if (!key?.startsWith(prefix)) return;
    const id = key.slice(prefix.length);
    if (this.answers.has(id)) return;
    const conversation = newValue === null ? undefined : checkedConversation(store.read(key));
    if (conversation) store.conversations.set(id, conversation); else store.conversations.delete(id);
    if (id === this.current.id && !document.querySelector(".edit")) {
      this.current = conversation ?? newConversation();
      this.show();
    } else {
      this.showList();
    }
  },

  // Answers

  send() {
    const text = byId("prompt").value;
    const conversation = this.current;
    if (!this.canSend || this.answers.has(conversation.id)) return;
    if (text.trim() !== "") conversation.messages.push(newMessage("user", text));
    if (!conversation.title) conversation.title = text.trim().replace(/\s+/g, " ").slice(0, 60);
    byId("prompt").value = "";
    this.answer(conversation, newMessage("assistant"));
  },

  /** Whether there is something to answer; a text can also just go on. */
  get canSend() {
    return byId("prompt").value.trim() !== "" || (this.current.mode === "text" && this.current.messages.length > 0);
  },

  edit(message, text) {
    const { messages } = this.current;
    if (text !== undefined && text !== shownVersion(message).text) {
      const before = structuredClone(messages);
      message.versions[message.shown] = { ...shownVersion(message), text };
      if (message.role === "user") {
        this.replaceAfter(message, before);
        return;
      }
      this.changed();
    }
    this.show();
    byId("prompt").focus();
  },

  /** Answers a message anew and drops those after it, which can be undone. */
  replaceAfter(message, before) {
    const conversation = this.current;
    const dropped = conversation.messages.splice(conversation.messages.indexOf(message) + 1);
    this.answer(conversation, newMessage("assistant"));
    if (dropped.length > 1) {
      toast("Later messages were replaced.", "Undo", () => {
        this.answers.get(conversation.id)?.controller.abort();
        conversation.messages = before;
        this.changed(conversation);
        this.show();
      });
    }
  },

  regenerate(message) {
    const conversation = this.current;
    const at = conversation.messages.indexOf(message);
    if (at !== conversation.messages.length - 1) {
      this.replaceAfter(conversation.messages[at - 1], structuredClone(conversation.messages));
      return;
    }
    conversation.messages.pop();
    // A version that failed without a word is not kept.
    if (shownVersion(message).error && shownVersion(message).text === "") message.versions.splice(message.shown, 1);
    message.versions.push({ text: "" });
    message.shown = message.versions.length - 1;
    this.answer(conversation, message);
  },

  requestFor(conversation, answer) {
    const common = { ...settings.sampling };
    const model = this.chosenModel(conversation) || conversation.model;
    if (model) common.model = model;
    const past = conversation.messages.filter((message) => message !== answer && shownVersion(message).text !== "");
    if (conversation.mode === "text") {
      const text = past.map((message) => shownVersion(message).text).join("");
      return ["v1/completions", { ...common, prompt: conversation.system + text }];
    }
    const messages = past.map((message) => ({ role: message.role, content: shownVersion(message).text }));
    if (conversation.system.trim() !== "") messages.unshift({ role: "system", content: conversation.system });
    return ["v1/chat/completions", { ...common, messages }];
  },

  async answer(conversation, message) {
    const version = shownVersion(message);
    conversation.messages.push(message);
    const progress = { controller: new AbortController(), message, started: performance.now(), pieces: 0 };
    this.answers.set(conversation.id, progress);
    const [path, body] = this.requestFor(conversation, message);
    if (body.model) version.model = body.model;
    this.changed(conversation);
    this.show();
    this.scrollToEnd();
    try {
      const result = await streamAnswer(path, body, progress.controller.signal, (piece) => {
        progress.first ??= performance.now();
        progress.pieces += 1;
        version.text += piece.text;
        if (piece.reasoning) version.reasoning = (version.reasoning ?? "") + piece.reasoning;
        this.progressed(conversation, progress);
      });
      version.finish = result.finish;
      version.timing = timingOf(progress, result);
    } catch (error) {
      if (error.name === "AbortError") {
        version.finish = "stopped";
        if (progress.first) version.timing = timingOf(progress, {});
      } else {
        version.error = error instanceof ServerError ? error.message : `The answer failed: ${error.message}`;
        if (error.retryAfter) version.error += ` The server asks to wait ${error.retryAfter} s.`;
        version.status = error.status;
      }
    }
    if (this.answers.get(conversation.id) === progress) this.answers.delete(conversation.id);
    if (store.conversations.has(conversation.id)) this.changed(conversation);
    if (conversation !== this.current) {
      this.showList();
      return;
    }
    const isAtEnd = this.isAtEnd;
    this.show();
    if (isAtEnd) this.scrollToEnd();
    announce(version.error ? "" : `Answer: ${version.text.slice(0, 3000)}`);
  },

  stop() {
    this.answers.get(this.current.id)?.controller.abort();
  },

  /** Shows what has come, at most once a frame, and saves it about once a second. */
  progressed(conversation, progress) {
    const now = performance.now();
    if (now - (progress.saved ?? progress.started) > 1000) {
      progress.saved = now;
      store.save(conversation);
    }
    if (progress.isDrawing) return;
    progress.isDrawing = true;
    requestAnimationFrame(() => {
      progress.isDrawing = false;
      if (conversation !== this.current || this.answers.get(conversation.id) !== progress) return;
      const item = byId("messages").lastElementChild;
      const version = shownVersion(progress.message);
      const isAtEnd = this.isAtEnd;
      if (version.reasoning) {
        const reasoning = item.querySelector(".reasoning");
        if (reasoning) reasoning.lastElementChild.textContent = version.reasoning;
        else item.querySelector(".body").before(reasoningElement(version));
      }
      fillBody(item.querySelector(".body"), conversation, progress.message, true);
      item.querySelector(".timing").textContent = timingText({ timing: timingOf(progress, {}) });
      if (isAtEnd) this.scrollToEnd();
    });
  },

  // What is seen

  show() {
    const conversation = this.current;
    const busy = this.answers.get(conversation.id);
    const list = byId("messages");
    list.replaceChildren();
    appendAll(list, conversation.messages.map((message) => this.itemFor(message, busy?.message === message)));
    list.setAttribute("aria-busy", String(busy !== undefined));
    byId("welcome").hidden = conversation.messages.length > 0;
    const lead = byId("welcome").querySelector(".lead");
    const isText = conversation.mode === "text";
    lead.textContent = isText ? "Begin a text; the model continues it." : "What would you like to know?";
    byId("prompt").placeholder = isText ? "Write the beginning" : "Write a message";
    byId("title").value = conversation.title;
    byId("title").placeholder = "New conversation";
    document.title = conversation.title ? `${conversation.title} – BitNet` : "BitNet";
    byId("send").hidden = busy !== undefined;
    byId("stop").hidden = busy === undefined;
    this.draftChanged();
    this.showModels();
    this.showList();
    this.showLatestButton();
  },

  /** The element of a message, kept as long as the message stays as it is. */
  itemFor(message, isBusy) {
    const conversation = this.current;
    const version = shownVersion(message);
    const { text, finish, error } = version;
    const state = [version, text, finish, error, message.versions.length, conversation.mode, isBusy];
    const old = this.items.get(message);
    if (old && !isBusy && old.state.every((value, index) => value === state[index])) return old.item;
    const regenerate = () => { if (!this.answers.has(conversation.id)) this.regenerate(message); };
    const item = messageElement(conversation, message, isBusy, {
      edit: (changed) => { this.items.delete(message); this.edit(message, changed); },
      regenerate,
      retry: regenerate,
      openKey: () => settings.open(conversation, "key"),
      show: (index) => { message.shown = index; this.changed(); this.show(); },
    });
    this.items.set(message, { state, item });
    return item;
  },

  showList() {
    const wanted = byId("filter").value.trim().toLowerCase();
    const isFound = (conversation) => wanted === "" || conversation.title.toLowerCase().includes(wanted)
      || conversation.messages.some((message) => shownVersion(message).text.toLowerCase().includes(wanted));
    const items = store.sorted().filter(isFound).map((conversation) => {
      const title = conversation.title || "Untitled";
      const isCurrent = conversation.id === this.current.id;
      const state = `${isCurrent ? "current" : ""} ${this.answers.has(conversation.id) ? "busy" : ""}`;
      const open = element("button", { type: "button", class: "open", onclick: () => this.open(conversation) }, title);
      if (isCurrent) open.setAttribute("aria-current", "page");
      return element(
        "li", { class: state }, open,
        iconButton("trash", `Delete ${title}`, () => this.remove(conversation), { class: "icon-button remove" }));
    });
    const none = wanted ? "Nothing found." : "No conversations yet.";
    if (items.length === 0) items.push(element("li", { class: "none" }, none));
    byId("list").replaceChildren();
    appendAll(byId("list"), items);
  },

  chosenModel(conversation) {
    const names = this.models.map((model) => model.id);
    const preferred = [conversation.model, kept.getItem("bitnet:model")];
    return preferred.find((name) => names.includes(name)) ?? names[0] ?? "";
  },

  showModels() {
    const select = byId("model");
    select.replaceChildren(...this.models.map((model) => element("option", { value: model.id }, model.id)));
    if (this.models.length === 0) select.append(element("option", { value: "" }, "No model"));
    select.value = this.chosenModel(this.current);
    select.disabled = this.models.length === 0;
  },

  draftChanged() {
    const prompt = byId("prompt");
    byId("send").disabled = !this.canSend;
    if (!CSS.supports("field-sizing", "content")) {
      prompt.style.height = "auto";
      prompt.style.height = `${prompt.scrollHeight}px`;
    }
  },

  get isAtEnd() {
    const place = byId("scroll");
    return place.scrollHeight - place.scrollTop - place.clientHeight < 80;
  },

  scrollToEnd() {
    const place = byId("scroll");
    place.scrollTop = place.scrollHeight;
    this.showLatestButton();
  },

  showLatestButton() {
    byId("latest").hidden = this.isAtEnd;
  },
};

/** {tokens, rate, first, prompt, cached} as the server states them, or as they were seen here. */
function timingOf(progress, { usage, timings }) {
  const last = performance.now();
  const timing = {};
  if (progress.first) timing.first = (progress.first - progress.started) / 1000;
  timing.tokens = usage?.completion_tokens ?? progress.pieces;
  const seen = (last - (progress.first ?? last)) / 1000;
  const rate = seen > 0 && timing.tokens > 1 ? (timing.tokens - 1) / seen : undefined;
  timing.rate = timings?.predicted_per_second ?? rate;
  timing.prompt = usage?.prompt_tokens;
  timing.cached = usage?.prompt_tokens_details?.cached_tokens;
  for (const key of Object.keys(timing)) if (!Number.isFinite(timing[key])) delete timing[key];
  return timing;
}

page.start();
