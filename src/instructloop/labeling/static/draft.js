// What is kept while somebody works. Drafts: every change goes to this browser's storage at once and to the server within half a
// second. Time: active = the page is visible and something was touched within 30 seconds. The lease: alive while there is activity.

const DELAY_MS = 400; // after the first unsaved change, however long somebody goes on typing
const REMEMBERED = 8; // sent drafts whose reply never came
const RETRY_MS = [500, 1000, 2000];
const KEEP_MS = 14 * 86_400_000;
const PREFIX = "instructloop:draft:";

const text = (values) => JSON.stringify(Object.entries(values).sort());
const IDLE_MS = 30_000;
const BEAT_MS = 60_000;

const two = (n) => String(n).padStart(2, "0");
const clockTime = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
const time = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

export class Drafts {
  constructor(task) {
    this.task = task;
    this.key = `${PREFIX}${task.id}`;
    this.rev = Number(task.root.dataset.rev);
    this.tries = 0;
    this.edits = 0; // counts changes, so that a save knows whether it carried the last one
    this.unanswered = []; // drafts of this tab that may or may not have arrived
    this.timer = null;
    this.shown = task.find("[data-saved]");
    task.on(task.form, "input", () => this.changed());
    task.on(task, "change", () => this.changed());
    task.on(window, "pagehide", () => this.flush());
    task.on(document, "visibilitychange", () => document.visibilityState === "hidden" && this.dirty() && this.save());
    task.on(window, "online", () => this.dirty() && this.schedule(0));
    task.signal.addEventListener("abort", () => clearTimeout(this.timer));
    prune();
  }

  dirty() {
    return this.edits !== (this.savedEdits ?? 0);
  }

  changed() {
    if (this.task.sent || this.stale) return;
    this.edits += 1;
    this.keep(true);
    if (!this.timer) this.schedule(DELAY_MS);
  }

  schedule(delay) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.timer = null;
      this.save();
    }, delay);
  }

  /** A draft is on its way; whether it arrived is known when the reply comes. */
  sending() {
    this.unanswered = [...this.unanswered, text(this.task.values())].slice(-REMEMBERED);
    this.keep(true);
  }

  /** Into this browser's storage. `ahead` counts saves of our own whose answer is still out: they may have raised the server's number. */
  keep(dirty, ahead = this.saving ? 1 : 0) {
    try {
      localStorage.setItem(this.key, JSON.stringify({ values: this.task.values(), rev: this.rev, ahead, dirty, at: Date.now() }));
    } catch {
      this.show("this browser keeps nothing; the server does");
    }
  }

  async save() {
    if (this.saving || this.task.sent || this.stale) return;
    this.saving = true;
    this.sending();
    const carried = this.edits;
    const { status, data } = await this.task.post(`${this.task.base}/draft`, this.task.body({ base_rev: this.rev }));
    this.saving = false;
    if (this.task.sent || this.task.signal.aborted) return;
    if (status === 200) {
      this.rev = data.rev;
      this.tries = 0;
      this.savedEdits = carried;
      this.unanswered = [];
      this.keep(this.dirty());
      this.show(`saved ${time(data.at - this.task.clock.skew)}`);
      if (this.dirty()) this.schedule(DELAY_MS);
    } else if (status === 409 && data?.current && this.unanswered.includes(text(data.current))) {
      this.rev = data.current_rev; // what the server holds came from this very tab; only the reply was lost
      this.unanswered = [];
      this.schedule(0);
    } else if (status === 409) {
      this.conflict(data);
    } else if (status === 404 || status === 410) {
      this.show("kept in this browser");
    } else {
      this.show("not saved on the server yet; kept in this browser");
      if (status === 401) return; // goes on after the login
      this.schedule(RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)]);
    }
  }

  /** The page is going away: one last message that needs no answer. */
  flush() {
    if (!this.dirty() || this.task.sent || this.stale) return;
    const ahead = this.saving ? 1 : 0;
    this.keep(true, ahead + 1);
    navigator.sendBeacon(`${this.task.base}/draft`, this.task.body({ base_rev: this.rev + ahead }));
  }

  /** Another tab has saved since: this one must not overwrite it. */
  conflict(data) {
    this.stale = true;
    this.keep(true);
    const load = document.createElement("button");
    load.type = "button";
    load.textContent = "Load what the other tab saved";
    load.onclick = () => {
      this.forget();
      location.reload();
    };
    const mine = document.createElement("button");
    mine.type = "button";
    mine.textContent = "Keep what stands here";
    mine.onclick = () => {
      this.rev = data?.current_rev ?? this.rev;
      this.stale = false;
      this.task.clear("stale");
      this.changed();
    };
    this.task.notice("bad", "stale", "This task was changed in another tab or on another device after this page was opened, so saving stopped here. ", load, " ", mine);
    this.show("saving stopped");
  }

  /** On opening: what this browser kept and the server never got. */
  restore() {
    let kept;
    try {
      kept = JSON.parse(localStorage.getItem(this.key));
    } catch {
      kept = null;
    }
    if (!kept?.dirty || JSON.stringify(kept.values) === JSON.stringify(this.task.values())) return;
    if (kept.rev === this.rev || kept.unanswered?.includes(text(this.task.values()))) {
      this.task.fill(kept.values);
      this.changed();
      this.task.notice("good", "restored", `Restored what you had entered at ${time(kept.at)}.`);
      return;
    }
    const use = document.createElement("button");
    use.type = "button";
    use.textContent = "Use that instead";
    use.onclick = () => {
      this.task.fill(kept.values);
      this.task.clear("restored");
      this.changed();
    };
    this.task.notice("warning", "restored", `This browser also kept a different version from ${time(kept.at)}. `, use);
  }

  forget() {
    clearTimeout(this.timer);
    localStorage.removeItem(this.key);
  }

  show(text) {
    this.shown.textContent = text;
  }
}

function prune() {
  for (const key of Object.keys(localStorage)) {
    if (!key.startsWith(PREFIX)) continue;
    try {
      if (Date.now() - JSON.parse(localStorage.getItem(key)).at > KEEP_MS) localStorage.removeItem(key);
    } catch {
      localStorage.removeItem(key);
    }
  }
}

/** Time on the task, and how long it is reserved. */
export class Clock {
  constructor(task) {
    const { active, wall, now, expires } = task.root.dataset;
    this.task = task;
    this.active = Number(active);
    this.wallBefore = Number(wall);
    this.opened = this.last = performance.now();
    this.touched = this.opened;
    this.skew = Number(now) - Date.now();
    this.beaten = this.opened;
    this.expires(Number(expires));
    for (const type of ["pointerdown", "pointermove", "keydown", "scroll", "input"]) {
      document.addEventListener(type, () => this.touch(), { signal: task.signal, passive: true, capture: true });
    }
    const timer = setInterval(() => this.tick(), 1000);
    task.signal.addEventListener("abort", () => clearInterval(timer));
    this.tick();
  }

  touch() {
    this.count();
    this.touched = performance.now();
  }

  count() {
    const now = performance.now();
    const end = Math.min(now, this.touched + IDLE_MS);
    if (document.visibilityState === "visible" && end > this.last) this.active += end - this.last;
    this.last = now;
  }

  /** [active, wall] in milliseconds, from the first opening on. */
  read() {
    this.count();
    return [Math.round(this.active), Math.round(this.wallBefore + performance.now() - this.opened)];
  }

  expires(at) {
    this.end = at;
    const shown = this.task.find("[data-expiry]");
    if (shown) shown.textContent = clockTime(at - this.skew);
  }

  tick() {
    const [active] = this.read();
    const seconds = Math.floor(active / 1000);
    this.task.find("[data-clock]").textContent = `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
    if (this.task.editing || this.task.sent) return;
    const now = performance.now();
    if (now - this.beaten >= BEAT_MS && this.touched > this.beaten) this.beat();
    const over = Date.now() + this.skew >= this.end;
    if (over && !this.warned) {
      this.warned = true;
      this.task.notice("warning", "lease", "The reservation has ended. You can still submit: the answer counts if the place is free, and is kept in any case.");
    }
  }

  async beat() {
    this.beaten = performance.now();
    const [active, wall] = this.read();
    const body = new URLSearchParams({ active_ms: active, wall_ms: wall, form_token: this.task.token() });
    const { status, data } = await this.task.post(`${this.task.base}/heartbeat`, body);
    if (status !== 200 || !data?.expires_at) return;
    this.warned = false;
    this.task.clear("lease");
    this.expires(data.expires_at);
  }
}
