// A message as elements. `actions` has what its buttons do: {edit, regenerate, retry, show, openKey}.

function messageElement(conversation, message, isBusy, actions) {
  const version = shownVersion(message);
  const isUser = message.role === "user";
  const body = element("div", { class: "body" });
  const item = element(
    "li", { class: `message ${message.role}${conversation.mode === "text" ? " plain" : ""}` },
    element("span", { class: "quiet" }, isUser ? "You:" : `${version.model || "Model"}:`));
  if (version.reasoning) item.append(reasoningElement(version));
  item.append(body);
  fillBody(body, conversation, message, isBusy);
  if (version.error) item.append(faultElement(version, isBusy, actions));
  if (!isBusy) item.append(metaElement(message, item, actions));
  else item.append(element("div", { class: "meta" }, element("span", { class: "timing" })));
  return item;
}

function fillBody(body, conversation, message, isBusy) {
  const { text } = shownVersion(message);
  if (message.role === "user" || conversation.mode === "text") {
    body.textContent = text;
    if (isBusy) body.append(element("span", { class: "waiting" }));
    return;
  }
  body.classList.add("markdown");
  renderMarkdown(body, text);
  if (isBusy && text === "") body.append(element("span", { class: "waiting" }));
}

function reasoningElement(version) {
  return element(
    "details", { class: "reasoning" }, element("summary", {}, "Reasoning"),
    element("div", {}, version.reasoning));
}

function faultElement(version, isBusy, actions) {
  const fault = element("div", { class: "fault", role: "alert" }, version.error);
  if (!isBusy) {
    fault.append(textButton("Try again", actions.retry));
    if (version.status === 401) fault.append(textButton("Enter a key", actions.openKey));
  }
  return fault;
}

function metaElement(message, item, actions) {
  const version = shownVersion(message);
  const buttons = element("div", { class: "actions" });
  const meta = element("div", { class: "meta" }, buttons);
  if (message.versions.length > 1) {
    const count = message.versions.length;
    const at = message.shown;
    buttons.append(
      iconButton("left", "Earlier answer", () => actions.show(at - 1), { disabled: at === 0 }),
      element("span", { class: "count" }, `${at + 1}/${count}`),
      iconButton("right", "Later answer", () => actions.show(at + 1), { disabled: at === count - 1 }));
  }
  buttons.append(iconButton("copy", "Copy", async () => { await copyText(version.text); toast("Copied."); }));
  buttons.append(iconButton("edit", "Edit", () => editMessage(message, item, actions)));
  if (message.role === "assistant") buttons.append(iconButton("again", "Answer again", actions.regenerate));
  if (version.timing) meta.append(element("span", { class: "timing" }, timingText(version)));
  return meta;
}

/** Replaces a message by a text field, until it is sent, saved or given up. */
function editMessage(message, item, actions) {
  const isUser = message.role === "user";
  const area = element("textarea", { "aria-label": "Edit the message", rows: "4" });
  area.value = shownVersion(message).text;
  const finish = (text) => actions.edit(text);
  const form = element(
    "form", {
      class: "edit",
      onsubmit: (event) => { event.preventDefault(); finish(area.value); },
      onkeydown: (event) => {
        if (event.key === "Escape") { event.stopPropagation(); finish(undefined); }
        if (isUser && isPlainEnter(event)) { event.preventDefault(); finish(area.value); }
      },
    },
    area,
    element(
      "div", { class: "row" }, element("button", { class: "button primary" }, isUser ? "Send" : "Save"),
      textButton("Cancel", () => finish(undefined), "button")));
  item.replaceChildren(form);
  area.focus();
}

/** Whether a key sends: Enter alone, and not the one that ends a word of an input method. */
function isPlainEnter(event) {
  return event.key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.altKey && !event.isComposing
    && event.keyCode !== 229;
}

const finishTexts = { length: "stopped at the limit of tokens", stopped: "stopped by you", content_filter: "filtered" };

function timingText({ timing, finish }) {
  const parts = [];
  if (timing.tokens !== undefined) parts.push(timing.tokens === 1 ? "1 token" : `${timing.tokens} tokens`);
  if (timing.rate !== undefined) parts.push(`${numberText(timing.rate)} tokens/s`);
  if (timing.first !== undefined) parts.push(`first token ${secondsText(timing.first)}`);
  if (timing.prompt !== undefined) {
    parts.push(`prompt ${timing.prompt}${timing.cached ? ` (${timing.cached} cached)` : ""}`);
  }
  if (finishTexts[finish]) parts.push(finishTexts[finish]);
  return parts.join(" · ");
}

function secondsText(seconds) {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}
