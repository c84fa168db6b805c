// Time on the task, and how long it is reserved. Active = the page is visible and something was touched within 30 seconds.

const IDLE_MS = 30_000;
const BEAT_MS = 60_000;

const two = (n) => String(n).padStart(2, "0");
export const clockTime = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

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
