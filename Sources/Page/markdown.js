// Markdown to elements. The text is a model's and may be hostile: it becomes text nodes, nothing is parsed as HTML, a
// link has only the schemes below, an image is shown as a link, and the work is linear in the length of the text.

const deepest = 10;
const schemes = new Set(["http:", "https:", "mailto:"]);

/** Renders text into a container and keeps the elements of unchanged blocks, so that a stream costs little. */
function renderMarkdown(container, text) {
  const blocks = parseBlocks(text.split("\n"), 0);
  const old = container.renderedBlocks ?? [];
  let same = 0;
  while (same < blocks.length && same < old.length && blocks[same].raw === old[same].raw) same += 1;
  while (container.childNodes.length > same) container.lastChild.remove();
  for (const block of blocks.slice(same)) container.append(blockElement(block));
  container.renderedBlocks = blocks;
}

const fence = /^ {0,3}(`{3,}|~{3,})([^`]*)$/;
const heading = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const rule = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const quote = /^ {0,3}> ?/;
const bullet = /^( *)([-*+]|\d{1,9}[.)])(?:[ \t]+(?=\S)|[ \t]*$)/;
const isBlank = (line) => line.trim() === "";
const indentation = (line) => line.length - line.trimStart().length;

function startsBlock(line) {
  return fence.test(line) || heading.test(line) || rule.test(line) || quote.test(line) || bullet.test(line);
}

/** Splits lines into blocks {kind, raw, ...}; raw decides whether a block changed. */
function parseBlocks(lines, depth) {
  const blocks = [];
  let i = 0;
  while (i < lines.length) {
    if (isBlank(lines[i])) { i += 1; continue; }
    const start = i;
    const block = depth >= deepest ? undefined : parseOther(lines, i, depth);
    if (block) {
      i = block.end;
    } else {
      i += 1;
      while (i < lines.length && !isBlank(lines[i]) && (depth >= deepest || !startsBlock(lines[i]))) i += 1;
    }
    const raw = lines.slice(start, i).join("\n");
    blocks.push(block ? { ...block, raw: `${block.kind}:${raw}` } : { kind: "paragraph", text: raw, raw: `p:${raw}` });
  }
  return blocks;
}

function parseOther(lines, i, depth) {
  const line = lines[i];
  let match = fence.exec(line);
  if (match) return parseCode(lines, i, match);
  match = heading.exec(line);
  if (match) {
    return { kind: "heading", level: match[1].length, text: withoutClosingMarks(match[2] ?? ""), end: i + 1 };
  }
  if (rule.test(line)) return { kind: "rule", end: i + 1 };
  if (quote.test(line)) {
    let end = i;
    while (end < lines.length && quote.test(lines[end])) end += 1;
    const inner = lines.slice(i, end).map((each) => each.replace(quote, ""));
    return { kind: "quote", blocks: parseBlocks(inner, depth + 1), end };
  }
  if (bullet.test(line)) return parseList(lines, i, depth);
  return parseTable(lines, i);
}

function withoutClosingMarks(text) {
  let end = text.trimEnd().length;
  while (text[end - 1] === "#") end -= 1;
  return text.slice(0, end);
}

function parseCode(lines, i, match) {
  const [, mark, language] = match;
  const body = [];
  let end = i + 1;
  for (; end < lines.length; end += 1) {
    const closing = lines[end].trim();
    if (closing.length >= mark.length && closing[0] === mark[0] && closing === mark[0].repeat(closing.length)) {
      end += 1;
      break;
    }
    body.push(lines[end]);
  }
  return { kind: "code", language: language.trim().split(/\s/, 1)[0].slice(0, 30), text: body.join("\n"), end };
}

function parseList(lines, i, depth) {
  const first = bullet.exec(lines[i]);
  const ordered = /\d/.test(first[2]);
  const margin = first[1].length;
  const items = [];
  let end = i;
  let item;
  while (end < lines.length) {
    const line = lines[end];
    const indent = indentation(line);
    const match = bullet.exec(line);
    if (isBlank(line)) {
      // A blank line belongs to the list only if the list goes on after it.
      let next = end + 1;
      while (next < lines.length && isBlank(lines[next])) next += 1;
      const goesOn = next < lines.length
        && (indentation(lines[next]) > margin + 1 || isSibling(bullet.exec(lines[next]), margin, ordered));
      if (!goesOn) break;
      while (end < next) { item.push(""); end += 1; }
      continue;
    }
    if (isSibling(match, margin, ordered) && !rule.test(line)) {
      item = [line.slice(match[0].length)];
      items.push(item);
    } else if (indent > margin + 1) {
      const width = first[2].length + margin + 1;
      item.push(line.slice(Math.min(indent, width)));
    } else if (!startsBlock(line) && !isBlank(lines[end - 1])) {
      item.push(line);
    } else {
      break;
    }
    end += 1;
  }
  const start = ordered ? Number.parseInt(first[2], 10) : 1;
  return { kind: "list", ordered, start, items: items.map((each) => parseBlocks(each, depth + 1)), end };
}

function isSibling(match, margin, ordered) {
  return match !== null && match[1].length <= margin + 1 && /\d/.test(match[2]) === ordered;
}

function parseTable(lines, i) {
  if (!lines[i].includes("|") || i + 1 >= lines.length || !/^[\s|:-]+$/.test(lines[i + 1])) return undefined;
  const head = cells(lines[i]);
  const marks = cells(lines[i + 1]);
  if (marks.length !== head.length || !marks.every((mark) => /^:?-+:?$/.test(mark))) return undefined;
  const align = marks.map((mark) => (mark.endsWith(":") ? (mark.startsWith(":") ? "middle" : "end") : undefined));
  let end = i + 2;
  const rows = [];
  while (end < lines.length && lines[end].includes("|")) {
    rows.push(cells(lines[end]).slice(0, head.length));
    end += 1;
  }
  return { kind: "table", head, align, rows, end };
}

function cells(line) {
  let text = line.trim();
  if (text.startsWith("|")) text = text.slice(1);
  if (text.endsWith("|")) text = text.slice(0, -1);
  return text.split("|").map((cell) => cell.trim());
}

function blockElement(block) {
  const withInline = (made, text) => { inline(made, text); return made; };
  switch (block.kind) {
    case "paragraph": return withInline(element("p"), block.text);
    case "heading": return withInline(element(`h${Math.min(6, block.level + 1)}`), block.text);
    case "rule": return element("hr");
    case "quote": return appendAll(element("blockquote"), block.blocks.map(blockElement));
    case "code": {
      const code = element("code", {}, block.text);
      return element(
        "div", { class: "code" },
        element("div", { class: "head" }, element("span", {}, block.language || "text"), copyButton(() => block.text)),
        element("pre", { tabindex: "0", "aria-label": "Code" }, code));
    }
    case "list": {
      const start = block.ordered && block.start !== 1 ? String(block.start) : undefined;
      const list = element(block.ordered ? "ol" : "ul", { start });
      for (const blocks of block.items) {
        const item = element("li");
        blocks.forEach((each, index) => {
          // The only paragraph of an item needs no paragraph's margins.
          if (index === 0 && each.kind === "paragraph") inline(item, each.text);
          else item.append(blockElement(each));
        });
        list.append(item);
      }
      return list;
    }
    case "table": {
      const cell = (name, text, index) => withInline(element(name, { class: block.align[index] }), text);
      const row = (name, texts) => appendAll(element("tr"), texts.map((text, index) => cell(name, text, index)));
      return element(
        "div", { class: "table" },
        element(
          "table", {}, element("thead", {}, row("th", block.head)),
          appendAll(element("tbody"), block.rows.map((texts) => row("td", texts)))));
    }
  }
}

const isWord = (character) => character !== undefined && /[\p{L}\p{N}_]/u.test(character);
const isSpace = (character) => character === undefined || /\s/.test(character);
const bareStart = /^https?:\/\/[^\s<>"`]/;
const markElements = { "*": "em", "_": "em", "**": "strong", "__": "strong", "~~": "del" };

/** Renders emphasis, code and links into parent. Marks without a partner stay text. */
function inline(parent, text) {
  const out = [];
  const openers = [];
  const open = {};
  let plain = "";
  const flush = () => { if (plain) out.push(document.createTextNode(plain)); plain = ""; };
  const push = (kind, shown) => {
    flush();
    out.push(document.createTextNode(shown));
    openers.push({ kind, at: out.length - 1 });
    open[kind] = (open[kind] ?? 0) + 1;
    // Nesting is bounded: the oldest mark stays text.
    if (openers.length > deepest) open[openers.shift().kind] -= 1;
  };
  /** Wraps everything since the last opener of a kind; openers in between stay text. */
  const close = (kind, made) => {
    flush();
    let opener;
    do {
      opener = openers.pop();
      open[opener.kind] -= 1;
    } while (opener.kind !== kind);
    out.push(appendAll(made, out.splice(opener.at).slice(1)));
  };
  const lastRun = new Map();
  let i = 0;
  while (i < text.length) {
    const c = text[i];
    if (c === "\\" && i + 1 < text.length && /[!-/:-@[-`{-~]/.test(text[i + 1])) {
      plain += text[i + 1];
      i += 2;
    } else if (c === "\n") {
      flush();
      out.push(document.createElement("br"));
      i += 1;
    } else if (c === "`") {
      const run = runLength(text, i);
      const end = closingRun(text, i + run, run, lastRun);
      if (end < 0) {
        plain += text.slice(i, i + run);
        i += run;
      } else {
        flush();
        out.push(element("code", {}, text.slice(i + run, end).replace(/\n/g, " ").trim()));
        i = end + run;
      }
    } else if (c === "*" || c === "_" || c === "~") {
      i = emphasis(text, i, openers, open, push, close, (literal) => { plain += literal; });
    } else if (c === "[" || (c === "!" && text[i + 1] === "[")) {
      const shown = c === "[" ? "[" : "![";
      push("[", shown);
      i += shown.length;
    } else if (c === "]") {
      const target = open["["] > 0 && text[i + 1] === "(" ? linkTarget(text, i + 2) : undefined;
      if (target) {
        close("[", linkElement(target.address));
        i = target.end;
      } else {
        plain += c;
        i += 1;
      }
    } else if (c === "h" && !isWord(text[i - 1]) && !(open["["] > 0) && bareStart.test(text.slice(i, i + 10))) {
      const address = bareAddress(text, i);
      const url = safeAddress(address);
      if (url) {
        flush();
        const link = linkElement(url);
        link.append(address);
        out.push(link);
      } else {
        plain += address;
      }
      i += address.length;
    } else {
      plain += c;
      i += 1;
    }
  }
  flush();
  appendAll(parent, out);
}

function runLength(text, i) {
  let end = i;
  while (text[end] === text[i]) end += 1;
  return end - i;
}

/** Where a run of backticks of this length begins, at or after i, or -1. `missing` remembers lengths without one. */
function closingRun(text, i, length, missing) {
  if (missing.get(length)) return -1;
  let at = i;
  while ((at = text.indexOf("`", at)) >= 0) {
    const run = runLength(text, at);
    if (run === length) return at;
    at += run;
  }
  missing.set(length, true);
  return -1;
}

function emphasis(text, i, openers, open, push, close, literal) {
  const c = text[i];
  const run = runLength(text, i);
  const end = i + run;
  const inWord = c === "_" && isWord(text[i - 1]) && isWord(text[end]);
  const canClose = !inWord && !isSpace(text[i - 1]);
  const canOpen = !inWord && !isSpace(text[end]) && run <= 3;
  let left = run;
  const sizes = c === "~" ? [2] : [2, 1];
  while (canClose && left > 0) {
    const top = openers.at(-1)?.kind;
    const fitting = sizes.filter((size) => size <= left && open[c.repeat(size)] > 0);
    if (fitting.length === 0) break;
    const size = fitting.find((each) => c.repeat(each) === top) ?? fitting[0];
    close(c.repeat(size), document.createElement(markElements[c.repeat(size)]));
    left -= size;
  }
  while (canOpen && left > 0) {
    const size = sizes.find((each) => each <= left);
    if (!size) break;
    push(c.repeat(size), c.repeat(size));
    left -= size;
  }
  literal(c.repeat(left));
  return end;
}

/** The address of a link up to its closing parenthesis, or nothing if it has none or no safe scheme. */
function linkTarget(text, i) {
  const end = text.slice(i, i + 2000).search(/[)\n]/);
  if (end < 0 || text[i + end] !== ")") return undefined;
  const address = safeAddress(text.slice(i, i + end).trim().split(/\s/, 1)[0].replace(/^<(.*)>$/, "$1"));
  return address && { address, end: i + end + 1 };
}

function bareAddress(text, i) {
  const found = /^[^\s<>"`]+/.exec(text.slice(i, i + 2000))[0];
  const trimmed = found.replace(/[.,;:!?'*_~\])]+$/, "");
  // A parenthesis belongs to the address if it was opened in it.
  return trimmed.includes("(") && found[trimmed.length] === ")" ? `${trimmed})` : trimmed;
}

function safeAddress(text) {
  try {
    const url = new URL(text);
    return schemes.has(url.protocol) ? url.href : undefined;
  } catch {
    return undefined;
  }
}

function linkElement(address) {
  return element("a", { href: address, title: address, target: "_blank", rel: "noopener noreferrer nofollow" });
}
