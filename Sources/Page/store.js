// What the browser keeps: each conversation under its own key, so that two tabs seldom write the same one. All that is
// read back or imported is checked first, because other programs and people can write it.

const prefix = "bitnet:conversation:";
const limits = { text: 4_000_000, messages: 10_000, title: 120 };
const roles = new Set(["user", "assistant"]);

function newIdentifier() {
  // crypto.randomUUID exists only for pages from this machine or over TLS.
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function newConversation(from) {
  const now = Date.now();
  return {
    id: newIdentifier(), title: "", created: now, updated: now, mode: from?.mode ?? "chat", model: from?.model ?? "",
    system: "", messages: [],
  };
}

/** A message has several versions when an answer was asked for again; `shown` is the index of one. */
function newMessage(role, text = "") {
  return { role, versions: [{ text }], shown: 0 };
}

const shownVersion = (message) => message.versions[message.shown];

function checkedText(value, limit = limits.text) {
  return typeof value === "string" && value.length <= limit ? value : undefined;
}

function checkedVersion(value) {
  const text = checkedText(value?.text);
  if (text === undefined) return undefined;
  const version = { text };
  for (const key of ["reasoning", "model", "finish", "error"]) {
    const other = checkedText(value[key]);
    if (other) version[key] = other;
  }
  if (value.timing && typeof value.timing === "object") {
    version.timing = {};
    for (const key of ["tokens", "rate", "first", "prompt", "cached"]) {
      if (Number.isFinite(value.timing[key])) version.timing[key] = value.timing[key];
    }
  }
  return version;
}

function checkedMessage(value) {
  if (!roles.has(value?.role) || !Array.isArray(value.versions) || value.versions.length > 1000) return undefined;
  const versions = value.versions.map(checkedVersion);
  if (versions.length === 0 || versions.includes(undefined)) return undefined;
  const shown = Number.isInteger(value.shown) && versions[value.shown] ? value.shown : versions.length - 1;
  return { role: value.role, versions, shown };
}

/** The conversation in a value of unknown origin, or nothing. */
function checkedConversation(value) {
  if (typeof value?.id !== "string" || !/^[0-9a-f]{8,64}$/.test(value.id)) return undefined;
  if (!Array.isArray(value.messages) || value.messages.length > limits.messages) return undefined;
  const messages = value.messages.map(checkedMessage);
  if (messages.includes(undefined)) return undefined;
  const time = (moment) => (Number.isFinite(moment) ? moment : Date.now());
  return {
    id: value.id, title: checkedText(value.title, limits.title) ?? "", created: time(value.created),
    updated: time(value.updated), mode: value.mode === "text" ? "text" : "chat",
    model: checkedText(value.model, 500) ?? "", system: checkedText(value.system) ?? "", messages,
  };
}

/** The browser's storage of that name, or one that ends with the tab where a browser refuses it. */
function openStorage(name) {
  try {
    window[name].getItem(prefix);
    return window[name];
  } catch {
    const values = new Map();
    const storage = {};
    Object.defineProperties(storage, {
      getItem: { value: (key) => values.get(key) ?? null },
      setItem: { value: (key, value) => { values.set(key, value); storage[key] = true; } },
      removeItem: { value: (key) => { values.delete(key); delete storage[key]; } },
    });
    return storage;
  }
}

const kept = openStorage("localStorage");
const tabOnly = openStorage("sessionStorage");

const store = {
  conversations: new Map(),

  read(key) {
    try {
      return JSON.parse(kept.getItem(key) ?? "null");
    } catch {
      return null;
    }
  },

  write(key, value) {
    try {
      kept.setItem(key, JSON.stringify(value));
      return true;
    } catch {
      toast("The browser's storage is full. Export and delete some conversations.");
      return false;
    }
  },

  load() {
    for (const key of Object.keys(kept).filter((each) => each.startsWith(prefix))) {
      const conversation = checkedConversation(this.read(key));
      if (conversation && key === prefix + conversation.id) this.conversations.set(conversation.id, conversation);
    }
  },

  sorted() {
    return [...this.conversations.values()].sort((one, other) => other.updated - one.updated);
  },

  save(conversation) {
    if (!this.conversations.has(conversation.id)) return;
    this.write(prefix + conversation.id, conversation);
  },

  add(conversation) {
    this.conversations.set(conversation.id, conversation);
    this.save(conversation);
  },

  remove(id) {
    this.conversations.delete(id);
    kept.removeItem(prefix + id);
  },

  exported() {
    return JSON.stringify({ format: "bitnet-conversations", version: 1, conversations: this.sorted() }, null, 1);
  },

  /** Adds the conversations of an exported file, unless a newer version is here; answers with their number. */
  imported(text) {
    let file;
    try {
      file = JSON.parse(text);
    } catch {
      throw new Error("The file is not JSON; expected an export of this page.");
    }
    if (file?.format !== "bitnet-conversations" || !Array.isArray(file.conversations)) {
      throw new Error("The file has another format; expected an export of this page.");
    }
    const found = file.conversations.map(checkedConversation);
    const wrong = found.indexOf(undefined);
    if (wrong >= 0) throw new Error(`Conversation ${wrong + 1} of the file is damaged; nothing was imported.`);
    const newer = found.filter((each) => !(this.conversations.get(each.id)?.updated >= each.updated));
    for (const each of newer) this.add(each);
    return newer.length;
  },
};
