// One task page: opens it, sends it in the background, swaps in the next one. Without this file the form does the same in two round trips.

import { Clock, Drafts } from "./draft.js";
import { Keymap } from "./keymap.js";

const CONTROL = new Set(["form_token", "idem_key", "ui_version", "active_ms", "wall_ms", "base_rev"]);
const RETRY_MS = [1000, 2000, 4000, 8000];

/** The open task: its form, its values, its messages. Ends with `abort` when the next one comes. */
export class Task extends EventTarget {
  constructor(root) {
    super();
    this.root = root;
    this.form = root.querySelector("[data-form]");
    this.id = root.dataset.task;
    this.base = root.dataset.base;
    this.editing = "editing" in root.dataset;
    this.sent = false;
    this.undoable = [];
    this.abort = new AbortController();
    this.signal = this.abort.signal;
    this.known = this.values();
  }

  on(target, type, handler) {
    target.addEventListener(type, handler, { signal: this.signal });
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  all(selector) {
    return [...this.root.querySelectorAll(selector)];
  }

  /** The element that a field's message belongs to: its group of radios, its text. */
  place(name) {
    const named = name ? this.form.elements.namedItem(name) : null;
    const field = named instanceof RadioNodeList ? named[0] : named;
    return field?.closest("fieldset") ?? field;
  }

  /** What has been entered, field by field. */
  values() {
    const values = {};
    for (const [name, value] of new FormData(this.form)) {
      if (!CONTROL.has(name) && value !== "") values[name] = value;
    }
    return values;
  }

  /** Put values into the form; fields that `values` lacks become empty. Texts are left alone unless `texts`. */
  fill(values, { texts = true } = {}) {
    for (const field of this.form.elements) {
      if (!field.name || CONTROL.has(field.name)) continue;
      if (field.type === "radio" || field.type === "checkbox") field.checked = values[field.name] === field.value;
      else if (field.type === "hidden") continue;
      else if (texts || field.tagName === "SELECT") field.value = values[field.name] ?? "";
    }
    this.known = this.values();
    this.dispatchEvent(new Event("filled"));
  }

  /** Set one radio or checkbox as if it had been clicked (null clears a group). */
  choose(name, value) {
    let field = null;
    for (const input of this.form.elements.namedItem(name)?.length ? this.form.elements.namedItem(name) : [this.form.elements.namedItem(name)]) {
      if (!input) continue;
      input.checked = value !== null && input.value === String(value);
      field = input.checked ? input : field ?? input;
    }
    field?.dispatchEvent(new Event("change", { bubbles: true }));
  }

  undo() {
    const before = this.undoable.pop();
    if (!before) return this.say("nothing to undo");
    this.fill(before, { texts: false });
    this.dispatchEvent(new Event("change"));
    this.say("undone");
  }

  say(text) {
    const mode = this.find("[data-mode]");
    mode.hidden = false;
    mode.textContent = text;
  }

  notice(kind, key, ...parts) {
    this.clear(key);
    const line = document.createElement("p");
    line.className = `notice ${kind}`;
    line.dataset.notice = key;
    line.append(...parts);
    this.find("[data-notices]").append(line);
    return line;
  }

  clear(key) {
    this.find(`[data-notice="${key}"]`)?.remove();
  }

  token() {
    return this.form.elements.namedItem("form_token").value;
  }

  body(extra = {}) {
    const [active, wall] = this.clock.read();
    this.form.elements.namedItem("active_ms").value = active;
    this.form.elements.namedItem("wall_ms").value = wall;
    const body = new URLSearchParams(new FormData(this.form));
    for (const [name, value] of Object.entries(extra)) body.set(name, value);
    return body;
  }

  /** POST as a fetch; resolves to {status, data}, status 0 = the server was not reached. Refreshes a form token of an earlier login once. */
  async post(url, body, { again = true } = {}) {
    let response;
    try {
      response = await fetch(url, { method: "POST", body, headers: { Accept: "application/json", "X-Form-Token": this.token() } });
    } catch {
      return { status: 0, data: null };
    }
    if (response.status === 403 && again && (await this.refreshToken())) {
      body.set("form_token", this.token());
      return this.post(url, body, { again: false });
    }
    if (response.status === 401) this.loginEnded();
    const data = await response.json().catch(() => null);
    if (response.ok && data === null) return { status: 0, data }; // the connection broke within the reply: as good as none
    return { status: response.status, data, wait: Number(response.headers.get("Retry-After")) || 0 };
  }

  /** After a new login in another tab the old token is void: take the fresh one from the server. */
  async refreshToken() {
    try {
      const response = await fetch(location.pathname, { headers: { Accept: "text/html" } });
      if (!response.ok) return false;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const fresh = page.querySelector("[data-form] [name=form_token]")?.value;
      if (!fresh || fresh === this.token()) return false;
      for (const field of document.querySelectorAll("[name=form_token]")) field.value = fresh;
      return true;
    } catch {
      return false;
    }
  }

  loginEnded() {
    if (this.find('[data-notice="login"]')) return;
    const link = document.createElement("a");
    link.href = "/login";
    link.target = "_blank";
    link.rel = "noopener";
    link.textContent = "Log in in a new tab";
    this.notice("bad", "login", "Your login has ended. What you entered is kept in this browser. ", link, ", come back here and go on.");
    const back = async () => {
      if (document.visibilityState !== "visible" || !(await this.refreshToken())) return;
      this.clear("login");
      this.drafts.changed();
      if (this.waiting) send(this);
    };
    this.on(document, "visibilitychange", back);
    this.on(window, "focus", back);
  }
}

const placed = (task, name) => task.find(`[data-error-for="${CSS.escape(name)}"]`);

/** Messages of a refused form, each beside its field. */
function showErrors(task, errors) {
  for (const old of task.all("[data-error-for]")) old.remove();
  for (const { field, message, hint } of errors) {
    const place = task.place(field);
    if (!place) continue;
    const line = document.createElement("p");
    line.className = "problem";
    line.dataset.errorFor = field;
    line.textContent = hint ? `${message}. ${hint}` : message;
    place.after(line);
  }
  const n = errors.length;
  task.notice("bad", "errors", n === 1 ? `Not sent yet: ${errors[0].message}.` : `Not sent yet: ${n} fields need an answer.`);
  task.dispatchEvent(new CustomEvent("refused", { detail: errors }));
  const first = task.place(errors[0]?.field);
  if (first) {
    first.scrollIntoView({ block: "center" });
    const focusable = first.matches("textarea, select, input") ? first : first.querySelector("input, select");
    focusable?.focus({ preventScroll: true });
  }
}

function busy(task, on) {
  task.sending = on;
  task.find("[data-submit]").setAttribute("aria-disabled", String(on));
  task.root.classList.toggle("sending", on);
}

/** Send the answer; the page moves on only when the server has given a receipt. */
async function send(task, attempt = 0) {
  if (task.sent || (task.sending && attempt === 0)) return;
  busy(task, true);
  task.clear("errors");
  const { status, data, wait } = await task.post(task.form.getAttribute("action"), task.body());
  if (task.signal.aborted) return;
  if (status === 200 && data?.receipt) return arrived(task, data);
  if (status === 0 || (status > 500 && status < 600) || status === 429) {
    const pause = wait ? wait * 1000 : RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)];
    const why = status === 429 ? "That was very quick" : status > 500 ? "The server is busy" : "The server cannot be reached";
    task.notice("warning", "errors", `${why}. Nothing is lost; trying again in ${Math.round(pause / 1000)} s.`);
    setTimeout(() => task.signal.aborted || send(task, attempt + 1), pause);
    return;
  }
  busy(task, false);
  task.waiting = status === 401;
  if (status === 422 && data?.errors) return showErrors(task, data.errors);
  if (status === 401) return;
  if (data?.error) return void task.notice("bad", "errors", `${data.error} ${data.hint ?? ""}`);
  task.form.submit(); // something unforeseen: the native form takes over, the server gives the same receipt
}

/** The answer is stored: forget the draft, show the next page. */
function arrived(task, data) {
  task.sent = true;
  task.drafts.forget();
  if (data.main) return swap(data.main, data.next_url);
  location.assign(data.next_url);
}

function swap(html, url) {
  current?.abort.abort();
  current = null;
  const main = document.querySelector("main");
  main.innerHTML = html;
  history.pushState({}, "", url);
  const root = main.querySelector("[data-task]");
  document.title = root?.dataset.title ?? main.querySelector("[data-title]")?.dataset.title ?? document.title;
  window.scrollTo(0, 0);
  open(root);
  (main.querySelector("[data-heading]") ?? main).focus({ preventScroll: true });
}

/** A long text scrolls within its frame; a button lays it open. */
function texts(task) {
  for (const box of task.all("[data-text]")) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "quiet unfold", hidden: true, textContent: "Show all" });
    button.dataset.expand = "";
    box.after(button);
    new ResizeObserver(() => {
      button.hidden = !box.classList.contains("open") && box.scrollHeight <= box.clientHeight + 4;
    }).observe(box);
    button.onclick = () => {
      button.textContent = box.classList.toggle("open") ? "Show less" : "Show all";
    };
  }
}

function counters(task) {
  const write = task.find("[data-write]");
  const count = task.find("[data-count]");
  if (!write || !count) return;
  const show = () => {
    const words = write.value.trim() ? write.value.trim().split(/\s+/u).length : 0;
    count.textContent = `${words} ${words === 1 ? "word" : "words"}`;
  };
  task.on(write, "input", show);
  task.on(task, "filled", show);
  show();
}

let current = null;

async function open(root) {
  document.documentElement.classList.add("js");
  if (!root) return;
  const task = new Task(root);
  current = task;
  for (const part of task.all(".js-only")) part.hidden = false;
  task.clock = new Clock(task);
  task.keys = new Keymap(task);
  task.drafts = new Drafts(task);
  texts(task);
  task.on(task.form, "change", (event) => {
    if (event.target.type === "radio" || event.target.type === "checkbox" || event.target.tagName === "SELECT") {
      task.undoable.push(task.known);
      const button = task.find('[data-action="undo"]');
      if (button) button.disabled = false;
    }
    task.known = task.values();
    if (event.target.name) placed(task, event.target.name)?.remove();
    task.dispatchEvent(new Event("change"));
  });
  task.on(task.form, "submit", (event) => {
    event.preventDefault();
    send(task);
  });
  task.keys.on("undo", () => task.undo());
  task.keys.on("submit", () => send(task));
  const parts = await Promise.all(
    [task.find("[data-steps]") && import("./likert.js"), task.find("[data-cards]") && import("./rank.js")].filter(Boolean),
  );
  if (task.signal.aborted) return;
  for (const part of parts) part.mount(task);
  counters(task);
  task.drafts.restore();
  task.find("[data-summary]")?.focus();
  root.dataset.ready = "yes";
}

window.addEventListener("popstate", () => location.reload());
window.addEventListener("pageshow", (event) => event.persisted && location.reload());
open(document.querySelector("[data-task]"));
