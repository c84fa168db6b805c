// Ranking: radios 1..K for each output are the truth; keys, board and order string are ways to see and set them.

export function mount(task) {
  const cards = task.all("[data-card]");
  const letters = cards.map((card) => card.dataset.card).join("");
  const vote = task.find("[data-vote]");
  const ranking = task.find("[data-ranking]");
  let picked = null;
  let lastRanked = null;

  const card = (letter) => cards.find((one) => one.dataset.card === letter);
  const tiers = (letter) => [...task.form.querySelectorAll(`[name="rank.${letter}"]`)];
  const tier = (letter) => Number(tiers(letter).find((input) => input.checked)?.value ?? 0);
  const out = (letter) => task.form.elements.namedItem(`${letter}.left_out`)?.checked ?? false;
  const ranked = () => [...letters].filter((letter) => !out(letter));

  function pick(letter, { focus = true } = {}) {
    picked = letter;
    for (const one of cards) one.classList.toggle("picked", one.dataset.card === letter);
    if (focus && letter) {
      card(letter).focus({ preventScroll: true });
      card(letter).scrollIntoView({ block: "nearest" });
    }
  }

  function advance(from) {
    const ring = ranked();
    const at = ring.indexOf(from);
    const next = [...ring.slice(at + 1), ...ring.slice(0, at)].find((letter) => !tier(letter));
    if (next) pick(next);
  }

  function setTier(letter, value, { go = true } = {}) {
    const k = tiers(letter).length;
    if (value < 1 || value > k) return task.say(`ranks go from 1 to ${k}`);
    const before = tier(letter);
    task.choose(`rank.${letter}`, value);
    lastRanked = letter;
    if (go && !before) advance(letter);
  }

  function order() {
    const places = new Map();
    for (const letter of ranked()) if (tier(letter)) places.set(tier(letter), [...(places.get(tier(letter)) ?? []), letter]);
    const done = [...places.keys()].sort((a, b) => a - b).map((place) => places.get(place).join(" = "));
    const open = ranked().filter((letter) => !tier(letter));
    return [done.join(" > "), open.length ? `to rank: ${open.join(", ")}` : ""].filter(Boolean).join("   ·   ");
  }

  function show() {
    const line = task.find("[data-order]");
    if (!line) return;
    const text = order();
    if (line.textContent !== text) line.textContent = text;
    for (const one of cards) one.classList.toggle("left-out", out(one.dataset.card));
    board.show();
    contradictions();
  }

  /** Likert and ranking may disagree; say so, never stand in the way. */
  function contradictions() {
    const line = task.find("[data-contradiction]");
    if (!line) return;
    const overall = (letter) => Number(task.form.querySelector(`[name="${letter}.overall"]:checked`)?.value ?? 0);
    const found = [];
    for (const one of ranked()) {
      for (const other of ranked()) {
        if (tier(one) && tier(other) && overall(one) && overall(other) && tier(one) < tier(other) && overall(one) < overall(other)) {
          found.push(`${one} (rated ${overall(one)}) above ${other} (rated ${overall(other)})`);
        }
      }
    }
    line.hidden = !found.length;
    line.textContent = found.length ? `Ranked against your own ratings: ${found.slice(0, 3).join("; ")}. Fine if you mean it.` : "";
  }

  const board = ranking ? new Board(task, { ranked, tier, letters, setTier, pick, clear }) : { show() {} };

  function clear(letter) {
    if (tier(letter)) task.choose(`rank.${letter}`, null);
  }

  const stepping = () => ranking?.matches(".step") && !ranking.matches(".current");

  function keys() {
    if (stepping()) return;
    task.keys.off("flags", "rest_no");
    task.keys.claim(letters);
    task.keys.on("letter", (letter) => pick(letter));
    task.keys.on("next", () => scroll(1));
    task.keys.on("previous", () => scroll(-1));
    if (ranking) {
      task.keys.digitKeys = `1–${cards.length}`;
      task.keys.digitName = "Rank the picked output; the same digit is a tie";
      task.keys.on("digit", (digit) => setTier(picked ?? ranked().find((letter) => !tier(letter)) ?? letters[0], digit));
      task.keys.on("move", (step) => {
        if (!picked) return false;
        const now = tier(picked);
        const to = now ? Math.min(Math.max(now + step, 1), tiers(picked).length) : step > 0 ? 1 : tiers(picked).length;
        setTier(picked, to, { go: false });
        return true;
      });
      task.keys.on("tie", () => {
        const open = picked ?? ranked().find((letter) => !tier(letter));
        if (!lastRanked || !open || open === lastRanked) return task.say("rank another output first");
        setTier(open, tier(lastRanked));
      });
      task.keys.on("clear", () => picked && clear(picked));
    }
    if (vote) {
      task.keys.digitKeys = "1–3";
      task.keys.digitName = "How much better";
      task.keys.on("letter", (letter) => choose(letter === "A" ? "left" : "right"));
      task.keys.on("tie", () => choose("tie"));
      task.keys.on("both_bad", () => choose("both_bad"));
      if (task.find("[data-strength]")) task.keys.on("digit", (digit) => digit <= 3 && !task.find("[data-strength]").hidden && task.choose("strength", digit));
    }
    if (cards.length > 1) task.keys.on("diff", compare);
  }

  function scroll(step) {
    if (step < 0 && ranking?.matches(".step") && (picked ?? letters[0]) === letters[0]) return task.dispatchEvent(new Event("back"));
    const at = Math.max(letters.indexOf(picked ?? ""), step > 0 ? -1 : 0);
    pick(letters[(at + step + letters.length) % letters.length]);
  }

  function choose(winner) {
    task.choose("winner", winner);
  }

  /** The key that follows must not wait for the module: ask first, load then. */
  function compare() {
    const dialog = async (one, other) => (await import("./diff.js")).compareDialog(task, one, other);
    const first = picked ?? letters[0];
    if (cards.length === 2) return dialog(letters[0], letters[1]);
    task.keys.await(`compare ${first} with … (letter)`, (key) => {
      const other = key.toUpperCase();
      if (letters.includes(other) && other !== first) dialog(first, other);
    });
  }

  function strength() {
    const place = task.find("[data-strength]");
    if (!place) return;
    const winner = task.form.querySelector("[name=winner]:checked")?.value;
    place.hidden = winner !== "left" && winner !== "right";
    if (place.hidden) for (const input of place.querySelectorAll("input")) input.checked = false;
  }

  for (const one of cards) {
    task.on(one, "focusin", () => {
      if (picked !== one.dataset.card) pick(one.dataset.card, { focus: false });
    });
  }
  const all = () => {
    show();
    strength();
  };
  task.on(task.form, "change", (event) => {
    const letter = event.target.name?.startsWith("rank.") ? event.target.name.slice(5) : null;
    if (letter && tier(letter)) lastRanked = letter;
  });
  task.on(task, "change", all);
  task.on(task, "filled", all);
  task.on(task, "step", keys);
  keys();
  all();
}

/** Columns "to be ranked", 1 .. K with a chip for each output: the second way, by mouse, pen or finger. */
class Board {
  constructor(task, ranks) {
    this.task = task;
    this.ranks = ranks;
    this.root = task.find("[data-board]");
    this.columns = [...this.root.querySelectorAll("[data-column]")];
    this.chips = new Map();
    for (const letter of ranks.letters) {
      const chip = document.createElement("span");
      chip.className = "chip";
      chip.textContent = letter;
      chip.dataset.chip = letter;
      this.chips.set(letter, chip);
      task.on(chip, "pointerdown", (event) => this.grab(event, letter, chip));
    }
  }

  show() {
    const used = this.ranks.ranked();
    for (const [letter, chip] of this.chips) {
      const column = this.columns[this.ranks.tier(letter)];
      if (!used.includes(letter)) chip.remove();
      else if (chip.parentElement !== column) column.append(chip);
    }
  }

  grab(event, letter, chip) {
    if (event.button !== 0) return;
    event.preventDefault();
    const start = [event.clientX, event.clientY];
    let moved = false;
    chip.setPointerCapture(event.pointerId);
    const within = (x, y, slack) =>
      this.columns.find((column) => {
        const box = column.getBoundingClientRect();
        return x >= box.left && x <= box.right && y >= box.top - slack && y <= box.bottom + slack;
      });
    const over = (x, y) => within(x, y, 0) ?? within(x, y, 24);
    const move = (to) => {
      const [x, y] = [to.clientX - start[0], to.clientY - start[1]];
      moved ||= Math.hypot(x, y) > 4;
      if (!moved) return;
      chip.classList.add("dragged");
      chip.style.transform = `translate(${x}px, ${y}px)`;
      const target = over(to.clientX, to.clientY);
      for (const column of this.columns) column.classList.toggle("target", column === target);
    };
    const end = (to) => {
      chip.removeEventListener("pointermove", move);
      chip.removeEventListener("pointerup", end);
      chip.removeEventListener("pointercancel", end);
      chip.classList.remove("dragged");
      chip.style.transform = "";
      for (const column of this.columns) column.classList.remove("target");
      const target = to.type === "pointerup" && moved ? over(to.clientX, to.clientY) : null;
      if (target) {
        const place = Number(target.dataset.column);
        if (place) this.ranks.setTier(letter, place, { go: false });
        else this.ranks.clear(letter);
      } else if (!moved) this.ranks.pick(letter);
    };
    chip.addEventListener("pointermove", move);
    chip.addEventListener("pointerup", end);
    chip.addEventListener("pointercancel", end);
  }
}
