"use strict";

// Curves tell their values where the pointer is; without a pointer the caption keeps the first and the last.
(() => {
  const short = (value) => Number(value.toPrecision(3)).toString().replace("-", "\u2212");

  function prepare(chart) {
    const lines = Array.from(chart.querySelectorAll("polyline.line:not(.faint)"), (line) => ({
      label: line.querySelector("title")?.textContent ?? "",
      points: Array.from(line.points, (point) => [point.x, point.y]),
    }));
    const caption = chart.parentElement.querySelector(".values");
    if (lines.length === 0 || !caption) return;
    const [left, right, bottom, top] = chart.dataset.corners.split(" ").map(Number);
    const [first, last, low, high] = chart.dataset.frame.split(" ").map(Number);
    const usual = caption.textContent;
    const cross = document.createElementNS("http://www.w3.org/2000/svg", "line");
    cross.setAttribute("class", "cross");
    cross.setAttribute("y1", top);
    cross.setAttribute("y2", bottom);

    chart.addEventListener("pointermove", (event) => {
      const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
      let at = null;
      const told = lines.map((line) => {
        const [x, y] = line.points.reduce((best, point) => (Math.abs(point[0] - place.x) < Math.abs(best[0] - place.x) ? point : best));
        at ??= x;
        return `${line.label} ${short(low + ((bottom - y) / (bottom - top)) * (high - low))}`;
      });
      cross.setAttribute("x1", at);
      cross.setAttribute("x2", at);
      chart.append(cross);
      caption.textContent = `at ${short(first + ((at - left) / (right - left)) * (last - first))}: ${told.join("; ")}`;
    });
    chart.addEventListener("pointerleave", () => {
      cross.remove();
      caption.textContent = usual;
    });
  }

  document.querySelectorAll("svg.chart").forEach(prepare);
})();

// Samples: search, filters, a word-by-word comparison of two models, and keys that work while the focus is in the list.
(() => {
  const list = document.getElementById("sample-list");
  if (!list) return;
  const page = 12;
  const by = (id) => document.getElementById(id);
  const form = document.querySelector(".filter");
  const search = by("search");
  const boxes = Array.from(form.querySelectorAll("input[name=shown]"));
  const rows = Array.from(list.children, (node) => {
    const replies = new Map();
    for (const reply of node.querySelectorAll(".reply")) {
      const text = reply.querySelector(".text");
      replies.set(reply.dataset.model, {
        node: reply,
        text,
        words: text.textContent,
        score: reply.dataset.score === undefined ? NaN : Number(reply.dataset.score),
        flags: (reply.dataset.flags ?? "").split("|"),
      });
    }
    return { node, replies, text: node.textContent.toLowerCase(), case: node.dataset.case, set: node.dataset.set, marked: false };
  });
  let room = page;

  const chosen = (id) => by(id)?.value ?? "";
  const pair = () => [chosen("first"), chosen("second")];

  function duelFits(row, outcome) {
    if (outcome === "") return true;
    const [first, second] = pair().map((name) => row.replies.get(name)?.score ?? NaN);
    if (Number.isNaN(first) || Number.isNaN(second)) return false;
    return outcome === "wins" ? first > second : outcome === "loses" ? first < second : first === second;
  }

  function flagFits(row, flag, models) {
    return flag === "" || models.some((name) => row.replies.get(name)?.flags.includes(flag));
  }

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const [useCase, set, flag, outcome] = ["case", "set", "flag", "outcome"].map(chosen);
    const models = boxes.length ? boxes.filter((box) => box.checked).map((box) => box.value) : [...(rows[0]?.replies.keys() ?? [])];
    const setWanted = by("set") !== null && by("set").selectedIndex > 0;
    const filtered = words.length > 0 || useCase !== "" || setWanted || flag !== "" || outcome !== "";
    let found = 0;
    for (const row of rows) {
      const fits =
        words.every((word) => row.text.includes(word)) &&
        (useCase === "" || row.case === useCase) &&
        (!setWanted || row.set === set) &&
        flagFits(row, flag, models) &&
        duelFits(row, outcome);
      if (fits) found += 1;
      row.node.hidden = !fits || found > room;
      if (!row.node.hidden) compare(row);
      for (const [name, reply] of row.replies) reply.node.hidden = !models.includes(name);
    }
    by("paging").hidden = found <= room;
    by("more").textContent = `Show ${Math.min(5 * page, found - room)} more`;
    by("all").textContent = `Show all ${found}`;
    by("count").textContent = filtered ? `${found} of ${rows.length} prompts` : "";
  }

  function restart() {
    room = page;
    show();
  }

  // Longest common subsequence of words: which of each side stand in both texts.
  function common(left, right) {
    const wide = right.length + 1;
    const best = new Uint16Array((left.length + 1) * wide);
    for (let i = left.length - 1; i >= 0; i -= 1)
      for (let j = right.length - 1; j >= 0; j -= 1)
        best[i * wide + j] =
          left[i] === right[j] ? best[(i + 1) * wide + j + 1] + 1 : Math.max(best[(i + 1) * wide + j], best[i * wide + j + 1]);
    const kept = [new Set(), new Set()];
    for (let i = 0, j = 0; i < left.length && j < right.length; ) {
      if (left[i] === right[j]) {
        kept[0].add(i);
        kept[1].add(j);
        i += 1;
        j += 1;
      } else if (best[(i + 1) * wide + j] >= best[i * wide + j + 1]) i += 1;
      else j += 1;
    }
    return kept;
  }

  function mark(reply, words, kept, tag) {
    reply.text.replaceChildren();
    let open = null;
    words.forEach((word, place) => {
      if (kept.has(place)) open = null;
      else if (open === null) {
        open = document.createElement(tag);
        reply.text.append(open);
      }
      (open ?? reply.text).append(word);
    });
  }

  function compare(row) {
    const [first, second] = pair().map((name) => row.replies.get(name));
    const wanted = by("diff")?.checked && first && second && first !== second;
    if (row.marked)
      for (const reply of row.replies.values()) {
        reply.text.textContent = reply.words;
        reply.node.classList.remove("compared");
      }
    row.marked = Boolean(wanted);
    if (!wanted) return;
    const cut = (reply) => reply.words.match(/\S+\s*|\s+/g) ?? [];
    const [older, newer] = [cut(second), cut(first)];
    if (older.length * newer.length > 4e6) return;
    const bare = (words) => words.map((word) => word.trim());
    const [inOlder, inNewer] = common(bare(older), bare(newer));
    mark(second, older, inOlder, "del");
    mark(first, newer, inNewer, "ins");
    for (const reply of [first, second]) reply.node.classList.add("compared");
  }

  function step(by_) {
    const visible = rows.filter((row) => !row.node.hidden).map((row) => row.node);
    const at = visible.indexOf(document.activeElement.closest?.(".sample"));
    const next = visible[Math.min(Math.max(at + by_, 0), visible.length - 1)];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }

  const keys = {
    j: () => step(1),
    k: () => step(-1),
    d: () => by("diff")?.click(),
    "/": () => search.focus(),
  };
  document.getElementById("samples").addEventListener("keydown", (event) => {
    const typing = event.target.matches("input[type=search], select");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });

  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", restart);
  by("more").addEventListener("click", () => { room += 5 * page; show(); });
  by("all").addEventListener("click", () => { room = rows.length; show(); });
  restart();
})();

// On paper nothing can be unfolded: what matters is open there, and only there.
(() => {
  let opened = [];
  const unfold = () => {
    opened = [...opened, ...document.querySelectorAll("details.matters:not([open])")];
    for (const one of opened) one.open = true;
  };
  const fold = () => {
    for (const one of opened) one.open = false;
    opened = [];
  };
  addEventListener("beforeprint", unfold);
  addEventListener("afterprint", fold);
  matchMedia("print").addEventListener("change", (event) => (event.matches ? unfold() : fold()));
})();
