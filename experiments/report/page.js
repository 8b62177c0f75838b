"use strict";
// Tables sort by a click on a column's name, and filter by words.
const LONG = 8;
const collator = new Intl.Collator(undefined, { numeric: true });

function key(row, column) {
  const cell = row.cells[column];
  const value = cell.dataset.v;
  if (value === undefined) {
    const text = cell.textContent.trim();
    // Counts that are rounded or suppressed: ~160, <11, >839.
    const number = parseFloat(text.replace(/^[~<>]/, "").replace(/,/g, ""));
    return /^[~<>]?[\d,.]+$/.test(text) ? number : text;
  }
  return value === "" ? null : parseFloat(value);
}

function sort(table, column, th) {
  const down = th.getAttribute("aria-sort") !== "descending";
  for (const other of th.parentNode.cells) other.removeAttribute("aria-sort");
  th.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows].filter((r) => !r.classList.contains("total"));
  const last = [...body.rows].filter((r) => r.classList.contains("total"));
  const sign = down ? -1 : 1;
  rows.sort((a, b) => {
    const x = key(a, column), y = key(b, column);
    if (x === null || y === null) return (x === null) - (y === null);
    if (typeof x === "number" && typeof y === "number") return sign * (x - y);
    return sign * collator.compare(String(x), String(y));
  });
  body.append(...rows, ...last);
}

function filter(table, text, count) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    const has = row.textContent.toLowerCase();
    row.hidden = !words.every((w) => has.includes(w));
    shown += !row.hidden;
  }
  count.textContent = words.length ? `${shown} rows` : "";
}

for (const table of document.querySelectorAll("table.sorts")) {
  [...table.tHead.rows[0].cells].forEach((th, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = th.textContent || "name";
    th.replaceChildren(button);
    button.addEventListener("click", () => sort(table, column, th));
  });
  if (table.tBodies[0].rows.length < LONG || table.closest("details")) continue;
  const line = document.createElement("p");
  line.className = "filter";
  const label = document.createElement("label");
  const input = document.createElement("input");
  const count = document.createElement("span");
  count.setAttribute("role", "status");
  input.type = "search";
  label.append(`Filter ${table.caption.textContent.toLowerCase()} `, input);
  line.append(label, " ", count);
  table.parentNode.before(line);
  input.addEventListener("input", () => filter(table, input.value, count));
}

// One label's curves are brought forward.
const pick = document.getElementById("pick");
if (pick) {
  const curves = document.getElementById("curves");
  pick.addEventListener("change", () => {
    curves.classList.toggle("picked", pick.value !== "");
    for (const line of curves.querySelectorAll(".pick"))
      line.classList.toggle("on", line.dataset.pick === pick.value);
  });
}
