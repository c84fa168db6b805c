// The first part of Fig. 12: one output at a time, its quality 1..7 and its flags; fields that do not apply are hidden.

export function mount(task) {
  const steps = task.all("[data-step]");
  const nav = task.find("[data-steps]");
  let current = null;

  const groups = (step) => [...step.querySelectorAll("fieldset")].filter((group) => !group.hidden);
  const answered = (group) => (group.querySelector("select") ? group.querySelector("select").value !== "" : group.querySelector("input:checked") !== null);

  function complete(step) {
    if (step.dataset.step !== "ranking") return groups(step).every(answered);
    return [...step.querySelectorAll("[data-rank]")].every(
      (field) => field.querySelector("input:checked") || task.form.elements.namedItem(`${field.dataset.rank}.left_out`)?.checked,
    );
  }

  /** Show the fields that apply to this instruction. */
  function applies() {
    for (const row of task.all("[data-applies-flag]")) {
      const name = `prompt.${row.dataset.appliesFlag}`;
      const asked = task.form.elements.namedItem(name);
      const value = asked ? asked.value : task.root.getAttribute(`data-known-${row.dataset.appliesFlag.replaceAll("_", "-")}`);
      row.hidden = value !== row.dataset.appliesEquals;
    }
  }

  function show(step, { focus = true } = {}) {
    current = step;
    for (const one of steps) one.classList.toggle("current", one === step);
    for (const button of nav.children) button.setAttribute("aria-current", button.dataset.to === step.dataset.step ? "step" : "false");
    const ranking = step.dataset.step === "ranking";
    task.root.classList.toggle("at-ranking", ranking);
    if (!ranking) keys(step);
    task.dispatchEvent(new Event("step"));
    if (focus) {
      step.querySelector("h2").focus({ preventScroll: true });
      task.root.scrollIntoView({ block: "start" });
    }
  }

  function keys(step) {
    task.keys.claim("");
    task.keys.off("letter", "tie", "clear", "diff");
    task.keys.on("next", () => go(1));
    task.keys.on("previous", () => go(-1));
    task.keys.on("move", () => false);
    task.keys.digitKeys = "1–7";
    task.keys.digitName = "Overall quality";
    task.keys.on("digit", (digit) => digit <= 7 && step.dataset.step !== "instruction" && task.choose(`${step.dataset.step}.overall`, digit));
    task.keys.on("flags", () => task.keys.await("flag: its letter", (key) => toggle(step, key)));
    task.keys.on("rest_no", () => restNo(step));
  }

  function go(by) {
    const at = steps.indexOf(current) + by;
    if (at >= 0 && at < steps.length) show(steps[at]);
  }

  /** F, then the flag's letter: yes, no, not applicable, round and round. */
  function toggle(step, key) {
    const row = [...step.querySelectorAll("[data-flag]")].find((one) => !one.hidden && one.dataset.mnemonic === key);
    if (!row) return task.say(`no flag has the letter ${key}`);
    const select = row.querySelector("select");
    if (select) return select.focus();
    const inputs = [...row.querySelectorAll("input")];
    const next = inputs[(inputs.findIndex((input) => input.checked) + 1) % inputs.length];
    task.choose(next.name, next.value);
    row.scrollIntoView({ block: "nearest" });
    task.say(`${row.dataset.name}: ${next.parentElement.textContent.trim()}`);
  }

  function restNo(step) {
    for (const row of step.querySelectorAll("[data-flag]")) {
      const no = row.querySelector('input[value="no"]');
      if (no && !row.hidden && !row.querySelector("input:checked")) task.choose(no.name, "no");
    }
  }

  function refresh() {
    applies();
    for (const [at, step] of steps.entries()) {
      const done = complete(step);
      nav.children[at].classList.toggle("done", done);
      nav.children[at].querySelector(".mark").textContent = done ? " ✓" : "";
    }
  }

  for (const row of task.all("[data-flag]")) {
    const legend = row.querySelector("legend");
    row.dataset.name = legend.textContent.trim();
    if (row.dataset.mnemonic) legend.prepend(Object.assign(document.createElement("kbd"), { textContent: row.dataset.mnemonic.toUpperCase(), hidden: !task.keys.single }), " ");
    const help = row.querySelector(".help") ?? task.find(`[data-flag="${row.dataset.flag}"] .help`);
    if (help && help.parentElement !== row) row.append(help.cloneNode(true));
  }
  for (const step of steps) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.to = step.dataset.step;
    button.append(step.dataset.stepName, Object.assign(document.createElement("span"), { className: "mark" }));
    task.on(button, "click", () => show(step));
    nav.append(button);
  }
  task.on(task, "change", refresh);
  task.on(task, "back", () => go(-1));
  task.on(task, "filled", () => {
    refresh();
    if (!current || complete(current)) show(steps.find((step) => !complete(step)) ?? steps.at(-1), { focus: false });
  });
  task.on(task, "refused", (event) => {
    const step = task.place(event.detail[0]?.field)?.closest("[data-step]");
    if (step) show(step, { focus: false });
  });
  applies();
  refresh();
  show(steps.find((step) => !complete(step)) ?? steps.at(-1), { focus: false });
}
