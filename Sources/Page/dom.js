// Elements. No text, whether a model's, a server's or a person's, is ever parsed as HTML here.

const byId = (id) => document.getElementById(id);

/** Makes an element. Properties beginning with "on" are event handlers; strings among the children are text. */
function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Appends any number of nodes at once; the arguments of a call are limited. */
function appendAll(parent, nodes) {
  const fragment = new DocumentFragment();
  for (const node of nodes) fragment.append(node);
  parent.append(fragment);
  return parent;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

function iconButton(name, label, action, properties = {}) {
  const own = { type: "button", class: "icon-button", "aria-label": label, title: label, onclick: action };
  return element("button", { ...own, ...properties }, icon(name));
}

function textButton(label, action, kind = "text-button") {
  return element("button", { type: "button", class: kind, onclick: action }, label);
}

/** Says something to screen readers alone. */
function announce(text) {
  byId("live").textContent = text;
}

let toastTimer;
/** Shows a short message at the bottom, with an optional action, for 8 seconds. */
function toast(text, label, action) {
  const place = byId("toast");
  clearTimeout(toastTimer);
  const hide = () => { place.hidden = true; };
  place.replaceChildren(text);
  if (label) place.append(textButton(label, () => { hide(); action(); }));
  place.hidden = false;
  toastTimer = setTimeout(hide, 8000);
}

async function copyText(text) {
  try {
    // Only pages from this machine or over TLS have the clipboard.
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", { class: "quiet", "aria-hidden": "true" });
    area.value = text;
    const focused = document.activeElement;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    focused?.focus();
  }
}

function copyButton(text) {
  const button = textButton("Copy", async () => {
    await copyText(text());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}
