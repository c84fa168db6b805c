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
  addEventListener("beforeprint", () => { all = true; show(); });
  show();
})();
