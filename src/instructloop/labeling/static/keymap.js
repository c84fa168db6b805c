// Keys. Letters and digits belong to the outputs first; a command whose letter is taken by an output is reached with Shift.
// Every single-key command can be given another key or be switched off (WCAG 2.2, SC 2.1.4) in the labeler's preferences.

export const COMMANDS = {
  undo: "Undo the last choice",
  skip: "Skip, with a reason",
  guidelines: "Guidelines",
  diff: "Compare two outputs: then the other letter",
  flags: "Flags: then the letter beside the flag",
  rest_no: "Answer “no” to the flags still open",
  next: "Next output or step; scroll on",
  previous: "Output or step before; scroll back",
  clear: "Take the rank away",
  tie: "Tie (with the output ranked before)",
  both_bad: "Both bad",
  help: "This list",
};
const FIXED = { undo: "Ctrl+Z", submit: "Ctrl+Enter" };
const TEXT = "input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]";

export class Keymap {
  constructor(task) {
    this.task = task;
    this.keys = JSON.parse(task.root.dataset.keys);
    this.single = task.root.dataset.singleKeys !== "off";
    this.handlers = { help: () => this.help(), guidelines: () => this.guidelines(), skip: () => this.skip() };
    this.letters = "";
    this.pending = null;
    task.on(document, "keydown", (event) => this.press(event));
    for (const button of task.all("[data-action]")) task.on(button, "click", () => this.run(button.dataset.action));
    const panel = task.find("[data-guidelines]");
    if (panel) {
      if (sessionStorage.getItem("instructloop:guidelines") === "open") panel.open = true;
      const loaded = () => {
        sessionStorage.setItem("instructloop:guidelines", panel.open ? "open" : "shut");
        if (panel.open) load(panel);
      };
      task.on(panel, "toggle", loaded);
      if (panel.open) load(panel);
    }
    this.print();
  }

  /** Name a command's handler; letters(fn) and digits(fn) hear the keys of outputs and ranks. */
  on(name, handler) {
    this.handlers[name] = handler;
    this.print();
  }

  /** These commands mean nothing just now. */
  off(...names) {
    for (const name of names) delete this.handlers[name];
    this.print();
  }

  /** Which letters name outputs at this moment; commands give way to them. */
  claim(letters) {
    this.letters = letters;
    this.print();
  }

  shown(name, shift = "Shift+") {
    if (FIXED[name] && !this.keys[name]) return FIXED[name];
    const key = this.keys[name];
    if (!key || !this.single) return FIXED[name] ?? "";
    return this.taken(key) ? `${shift}${key.toUpperCase()}` : key.length === 1 ? key.toUpperCase() : key;
  }

  taken(key) {
    return this.letters.includes(key.toUpperCase());
  }

  print() {
    for (const place of this.task.all("[data-key]")) {
      place.textContent = this.shown(place.dataset.key, "⇧");
      place.hidden = !place.textContent || !(place.dataset.key in this.handlers || place.dataset.key in FIXED);
    }
  }

  run(name) {
    this.handlers[name]?.();
  }

  /** Ask for one more key: `choose(key)` gets it, Escape forgets it. */
  await(text, choose) {
    this.pending = choose;
    this.task.say(text);
  }

  press(event) {
    if (event.isComposing || event.defaultPrevented) return;
    const control = event.ctrlKey || event.metaKey;
    if (event.key === "Escape") return this.escape();
    if (control && event.key === "Enter") return this.take(event, () => this.run("submit"));
    if (event.target.closest?.(TEXT) || event.target.closest?.("dialog[open]") || event.altKey) return;
    if (control) {
      if (event.key.toLowerCase() === "z" && !event.shiftKey) this.take(event, () => this.run("undo"));
      return;
    }
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const within = event.target.closest?.("[data-card], [data-vote], [data-flags], [data-step]");
    if (!this.single && !within) return;
    if (this.pending) {
      if (key === "Shift") return;
      const choose = this.pending;
      this.pending = null;
      this.task.say("");
      return this.take(event, () => choose(key));
    }
    if (event.target.closest?.("summary, button, a") && (key === "Enter" || key === " ")) return;
    if (/^[1-9]$/.test(key) && this.handlers.digit) return this.take(event, () => this.handlers.digit(Number(key)));
    if (key === "ArrowUp" || key === "ArrowDown") {
      if (this.handlers.move?.(key === "ArrowUp" ? -1 : 1)) event.preventDefault();
      return;
    }
    if (!this.single) return;
    if (!event.shiftKey && this.letters.includes(key.toUpperCase()) && key.length === 1) {
      return this.take(event, () => this.handlers.letter?.(key.toUpperCase()));
    }
    for (const [name, own] of Object.entries(this.keys)) {
      const plain = own === key && (!event.shiftKey || !/^[a-z]$/.test(own));
      const shifted = own === key && event.shiftKey && this.taken(own);
      if ((plain && !this.taken(own)) || shifted) {
        if (this.handlers[name]) return this.take(event, () => this.run(name));
      }
    }
  }

  take(event, act) {
    event.preventDefault();
    act();
  }

  escape() {
    this.pending = null;
    this.task.say("");
    for (const open of this.task.all("details.drop[open]")) {
      open.open = false;
      open.querySelector("summary").focus();
    }
  }

  skip() {
    const drop = this.task.find("[data-skip]");
    if (!drop) return;
    drop.open = true;
    drop.querySelector("[type=radio]").focus();
  }

  guidelines() {
    const panel = this.task.find("[data-guidelines]");
    panel.open = !panel.open;
  }

  help() {
    const dialog = document.createElement("dialog");
    dialog.className = "keys-dialog";
    dialog.setAttribute("aria-label", "Keys");
    const rows = [];
    if (this.letters) rows.push([`${this.letters[0]}–${this.letters.at(-1)}`, "Pick an output"]);
    if (this.handlers.digit) rows.push([this.task.keys.digitKeys ?? "1–9", this.digitName ?? "Rank the picked output; the same digit is a tie"]);
    if (this.handlers.move) rows.push(["↑ ↓", "One rank better or worse"]);
    for (const [name, text] of Object.entries(COMMANDS)) if (this.handlers[name] && this.shown(name)) rows.push([this.shown(name), text]);
    rows.push(["Ctrl+Enter", "Submit"], ["Esc", "Close what is open"]);
    const table = document.createElement("table");
    for (const [key, text] of rows) {
      const row = table.insertRow();
      row.insertCell().append(Object.assign(document.createElement("kbd"), { textContent: key }));
      row.insertCell().textContent = text;
    }
    const heading = Object.assign(document.createElement("h2"), { textContent: "Keys" });
    const settings = Object.assign(document.createElement("a"), { href: "/work/keys", textContent: "Change or switch off keys" });
    const close = Object.assign(document.createElement("button"), { textContent: "Close", onclick: () => dialog.close() });
    dialog.append(heading, table, settings, " ", close);
    dialog.addEventListener("close", () => dialog.remove());
    this.task.root.append(dialog);
    dialog.showModal();
  }
}

const fetched = new Map();

async function load(panel) {
  const body = panel.querySelector("[data-guidelines-body]");
  const url = panel.dataset.guidelines;
  if (!fetched.has(url)) {
    const response = await fetch(url, { headers: { Accept: "application/json" } }).catch(() => null);
    if (!response?.ok) return; // the link stays
    fetched.set(url, (await response.json()).main);
  }
  body.innerHTML = fetched.get(url);
}
