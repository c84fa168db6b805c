"use strict";
(() => {
  const list = document.getElementById("sample-list");
  if (!list) return;
  const first = 12;
  const rows = Array.from(list.children, (node) => ({ node, text: node.textContent.toLowerCase(), case: node.dataset.case }));
  const search = document.getElementById("search");
  const cases = document.getElementById("case");
  const more = document.getElementById("more");
  const count = document.getElementById("count");
  let all = rows.length <= first;

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = cases ? cases.value : "";
    const filtered = words.length > 0 || wanted !== "";
    let found = 0;
    for (const row of rows) {
      const fits = words.every((word) => row.text.includes(word)) && (wanted === "" || row.case === wanted);
      if (fits) found += 1;
      row.node.hidden = !fits || (!filtered && !all && found > first);
    }
    more.hidden = filtered || all;
    more.textContent = `Show all ${rows.length}`;
    count.textContent = filtered ? `${found} of ${rows.length} prompts` : "";
  }

  document.querySelector(".filter").hidden = false;
  document.querySelector(".filter").addEventListener("submit", (event) => event.preventDefault());
  search.addEventListener("input", show);
  if (cases) cases.addEventListener("change", show);
  more.addEventListener("click", () => { all = true; show(); });
  addEventListener("beforeprint", () => { all = true; show(); for (const one of document.querySelectorAll("details")) one.open = true; });
  show();
})();
