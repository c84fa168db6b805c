// What two outputs have in common: words of one line struck out, words of the other underlined.

const MOST = 6000; // words a side; beyond that, lines are compared

const words = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
const lines = (text) => text.match(/[^\n]*\n|[^\n]+/g) ?? [];

/** Shortest edit script (Myers 1986): list of [-1 | 0 | 1, piece]. Gives up on closeness after `most` edits. */
export function editScript(a, b, most = 1500) {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const x = a.slice(start, a.length - end);
  const y = b.slice(start, b.length - end);
  const same = (piece) => [0, piece];
  return [...a.slice(0, start).map(same), ...middle(x, y, most), ...a.slice(a.length - end).map(same)];
}

function middle(a, b, most) {
  const trace = [];
  let reach = new Map([[1, 0]]);
  for (let d = 0; d <= Math.min(a.length + b.length, most); d += 1) {
    trace.push(new Map(reach));
    for (let k = -d; k <= d; k += 2) {
      let x = k === -d || (k !== d && reach.get(k - 1) < reach.get(k + 1)) ? reach.get(k + 1) : reach.get(k - 1) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x += 1;
      reach.set(k, x);
      if (x >= a.length && x - k >= b.length) return back(a, b, trace);
    }
  }
  return [...a.map((piece) => [-1, piece]), ...b.map((piece) => [1, piece])];
}

function back(a, b, trace) {
  const script = [];
  let [x, y] = [a.length, b.length];
  for (let d = trace.length - 1; d >= 0; d -= 1) {
    const reach = trace[d];
    const k = x - y;
    const from = k === -d || (k !== d && reach.get(k - 1) < reach.get(k + 1)) ? k + 1 : k - 1;
    const fromX = d === 0 ? 0 : reach.get(from);
    const fromY = d === 0 ? 0 : fromX - from;
    while (x > fromX && y > fromY) {
      x -= 1;
      y -= 1;
      script.push([0, a[x]]);
    }
    if (d > 0) {
      if (x === fromX) script.push([1, b[(y -= 1)]]);
      else script.push([-1, a[(x -= 1)]]);
    }
  }
  return script.reverse();
}

export function compareDialog(task, first, second) {
  const text = (letter) => task.find(`[data-card="${letter}"] [data-text]`).textContent;
  const dialog = document.createElement("dialog");
  dialog.className = "diff";
  dialog.setAttribute("aria-label", `Outputs ${first} and ${second}`);
  const [one, other] = [text(first), text(second)];
  const split = Math.max(words(one).length, words(other).length) > MOST ? lines : words;
  const body = document.createElement("div");
  body.className = "shown-text open";
  body.tabIndex = 0;
  body.setAttribute("role", "region");
  body.setAttribute("aria-label", "Differences");
  for (const [kind, piece] of editScript(split(one), split(other))) {
    if (!kind) body.append(piece);
    else body.append(Object.assign(document.createElement(kind < 0 ? "del" : "ins"), { textContent: piece }));
  }
  const heading = Object.assign(document.createElement("h2"), { textContent: `${first} against ${second}` });
  const key = document.createElement("p");
  key.append(Object.assign(document.createElement("del"), { textContent: `only in ${first}` }), " ", Object.assign(document.createElement("ins"), { textContent: `only in ${second}` }));
  const close = Object.assign(document.createElement("button"), { textContent: "Close", onclick: () => dialog.close() });
  dialog.append(heading, key, body, close);
  dialog.addEventListener("close", () => dialog.remove());
  task.root.append(dialog);
  dialog.showModal();
}
