"use strict";
// Single stays: what each token said, and how the predictions were joined.
(() => {
  const holder = document.getElementById("cases-data");
  if (!holder) return;
  const data = JSON.parse(holder.textContent);
  const STEPS = 10000, PER_SD = 40, C = data.labels.length;
  const at = { case: 0, label: 0, threshold: null };
  const $ = (id) => document.getElementById(id);
  const svgNS = "http://www.w3.org/2000/svg";

  function bytes(text, Kind) {
    const raw = atob(text), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return new Kind(out.buffer);
  }

  function make(tag, attributes, ...children) {
    const svg = ["svg", "rect", "line", "text", "g", "title", "path"];
    const node = svg.includes(tag)
      ? document.createElementNS(svgNS, tag)
      : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {}))
      node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  const signed = (x, digits) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(digits);
  const chance = (z) => 1 / (1 + Math.exp(-z));
  // Of classes, of which one is true, a score alone has no probability.
  const said = (z) => data.classes ? z.toFixed(2) : chance(z).toFixed(3);
  const ticks = () => data.classes
    ? Array.from({ length: 41 }, (_, i) => [i - 20, String(i - 20)])
    : [0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99].map((p) =>
      [Math.log(p / (1 - p)), String(p)]);

  // {share in [0, 1] of a token, the side it takes, its group}
  function token(part, t) {
    const steps = part.steps[t * C + at.label];
    const size = Math.abs(steps);
    return {
      real: part.real[t] === 1,
      confidence: size / STEPS,
      side: steps >= 0 ? "yes" : "no",
      high: size >= Math.round(limit(part.name) * STEPS),
    };
  }

  function limit(m) {
    return at.threshold === null ? data.thresholds[m] : at.threshold;
  }

  function shade(found, most = 0.74) {
    const share = 0.06 + most * Math.max(0, (found.confidence - 0.5) * 2);
    return `rgba(var(--${found.side}),${share.toFixed(3)})`;
  }

  function describe(found) {
    const side = found.side === "yes" ? "for" : "against";
    return `${side}, confidence ${found.confidence.toFixed(3)}, ` +
      (found.high ? "high" : "low") + " group";
  }

  function opened(index) {
    const one = data.cases[index];
    for (const [name, part] of Object.entries(one.modalities)) {
      if (part.steps) continue;
      part.name = name;
      part.steps = bytes(part.tokens, Int16Array);
      part.real = bytes(part.mask, Uint8Array);
      if (part.values) {
        part.x = bytes(part.values, Int8Array);
        part.seen = bytes(part.measured, Uint8Array);
      }
    }
    return one;
  }

  function planted(part) {
    return part.planted.filter(([kind, label]) =>
      kind === "noise" || (kind === "evidence" && label === at.label));
  }

  // Words of a note: tokens that touch are one word.
  function note(part) {
    const box = make("div", { class: "text", tabindex: "0", role: "region",
      "aria-label": `${data.titles[part.name]}: text` });
    const marks = planted(part);
    const edges = new Set([0, part.text.length]);
    for (const [begin, end] of part.spans) edges.add(begin).add(end);
    for (const [, , begin, end] of marks) edges.add(begin).add(end);
    const cuts = [...edges].filter((e) => e <= part.text.length)
      .sort((a, b) => a - b);
    let s = 0, open, place = box;
    for (let i = 0; i + 1 < cuts.length; i++) {
      const [begin, end] = [cuts[i], cuts[i + 1]];
      const text = part.text.slice(begin, end);
      while (s < part.spans.length && part.spans[s][1] <= begin) s++;
      const span = part.spans[s];
      const inside = span && span[0] <= begin && begin < span[1];
      const mark = marks.find(([, , b, e]) => b <= begin && begin < e);
      if (mark !== open) {
        open = mark;
        place = box;
        if (mark) {
          place = make("span", { class: `planted ${mark[0]}` });
          box.append(place);
        }
      }
      if (!inside) {
        place.append(text);
        continue;
      }
      const found = token(part, span[2]);
      const word = make("span", { class: found.high ? "token high" : "token" },
        text);
      word.style.background = shade(found);
      word.title = describe(found);
      place.append(word);
    }
    return box;
  }

  function radiograph(part) {
    const n = part.side;
    const svg = make("svg", { viewBox: `0 0 ${n} ${n}`, class: "patches",
      "aria-hidden": "true" });
    for (let t = part.first; t < part.count; t++) {
      const found = token(part, t), k = t - part.first;
      const x = k % n, y = Math.floor(k / n);
      const rect = make("rect", { x: x + 0.04, y: y + 0.04, width: 0.92,
        height: 0.92, fill: shade(found, 0.5), class: found.high ? "high" : "low" },
        make("title", {}, describe(found)));
      svg.append(rect);
    }
    for (const [kind, , left, right, top, bottom] of planted(part)) {
      const size = n / 8;
      svg.append(make("rect", { x: left * size, y: top * size,
        width: (right - left) * size, height: (bottom - top) * size,
        class: `planted ${kind}` }));
    }
    const image = make("img", { src: part.png, alt: "The radiograph, as small"
      + " as the encoder sees it, with its patches shaded" });
    return make("div", { class: "radiograph" }, image, svg);
  }

  // Hours from left to right: confidence above, values below.
  function hours(part) {
    const n = part.hours, rows = part.variables.length;
    const left = 140, cell = Math.max(4, Math.min(12, 245 / n)), high = 46;
    const width = left + n * cell + 4, height = high + 14 + rows * 12 + 18;
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, width, height,
      "aria-hidden": "true" });
    const words = (x, y, text, more) =>
      svg.append(make("text", { x, y, ...more }, text));
    words(left - 6, 12, "confidence 1.0", { "text-anchor": "end" });
    words(left - 6, high, "0.5", { "text-anchor": "end" });
    const edge = high - (limit(part.name) - 0.5) * 2 * (high - 4);
    for (let h = 0; h < n; h++) {
      const t = h + part.first;
      if (t >= part.count) break;
      const found = token(part, t);
      const tall = Math.max(1, (found.confidence - 0.5) * 2 * (high - 4));
      svg.append(make("rect", { x: left + h * cell, y: high - tall,
        width: cell * 0.86, height: tall, class: `bar ${found.side}` +
        (found.high ? " high" : " low") },
        make("title", {}, `${part.unit} ${h}: ${describe(found)}`)));
    }
    svg.append(make("line", { x1: left, x2: left + n * cell, y1: edge, y2: edge,
      class: "limit" }));
    const top = high + 14;
    for (const [kind, , begin, end] of planted(part))
      svg.append(make("rect", { x: left + begin * cell, y: 2,
        width: (end - begin) * cell, height: height - 20,
        class: `planted ${kind}` }));
    for (let v = 0; v < rows; v++) {
      const name = part.variables[v];
      words(left - 6, top + v * 12 + 9, name.length > 22
        ? name.slice(0, 21) + "…" : name, { "text-anchor": "end" });
      for (let h = 0; h < n; h++) {
        const value = part.x[h * rows + v] / PER_SD;
        const seen = part.seen[h * rows + v];
        const share = Math.min(1, Math.abs(value) / 3) * 0.9 + 0.03;
        const side = value >= 0 ? "up" : "down";
        svg.append(make("rect", { x: left + h * cell, y: top + v * 12,
          width: cell * 0.94, height: 11, class: seen ? "seen" : "",
          fill: `rgba(var(--${side}),${(seen ? share : share * 0.45).toFixed(3)})` }));
      }
    }
    for (let h = 0; h <= n; h += n > 96 ? 24 : n > 24 ? 12 : 6)
      words(left + h * cell, height - 4, String(h), {});
    const box = make("div", { class: "scroll", tabindex: "0", role: "region",
      "aria-label": part.unit === "hour"
      ? "Hourly series: confidence of each hour above, values below,"
      + " in standard deviations from the mean"
      : "Embeddings: confidence of each token" });
    box.append(svg);
    return box;
  }

  const drawings = { series: hours, image: radiograph, text: note,
    embedding: hours };

  function counts(part) {
    let high = 0, low = 0;
    for (let t = 0; t < part.count; t++) {
      if (!part.real[t]) continue;
      if (token(part, t).high) high++; else low++;
    }
    return { high, low };
  }

  function modality(m, part) {
    const figure = make("figure", { "data-modality": m });
    figure.append(make("figcaption", {}, data.titles[m]));
    if (!part) {
      figure.append(make("p", {}, "This stay has none."));
      return figure;
    }
    const { high, low } = counts(part);
    figure.append(make("p", { class: "counts" },
      `${high} tokens in the high group, ${low} in the low group`
      + ` (threshold ${limit(m).toFixed(2)})`));
    figure.append(drawings[data.kinds[m]](part));
    return figure;
  }

  // From the base rate to the probability, in log odds.
  function decision(one) {
    const of = one.decision, c = at.label;
    const rows = [["base rate", null, null, of.base[c], of.base[c]]];
    let sum = of.base[c];
    for (const s of of.sources) {
      rows.push([s.name, s.alone[c], s.weight[c], sum, sum + s.part[c]]);
      sum += s.part[c];
    }
    if (Math.abs(of.rest[c]) >= 0.0005) {
      rows.push(["together, bias", null, null, sum, sum + of.rest[c]]);
      sum += of.rest[c];
    }
    rows.push([`${data.chosen} (final)`, of.final[c], null, of.final[c],
      of.final[c]]);
    const all = rows.flatMap((r) => [r[3], r[4]]);
    const least = Math.min(...all, -1) - 0.3, most = Math.max(...all, 1) + 0.3;
    const left = 110, width = 420, step = 22, height = rows.length * step + 40;
    const x = (z) => left + (z - least) / (most - least) * (width - left - 50);
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `Waterfall from the base rate ${said(of.base[c])
        } to the probability ${one.probability[c].toFixed(3)}` });
    for (const [z, word] of ticks()) {
      if (z < least || z > most) continue;
      svg.append(make("line", { x1: x(z), x2: x(z), y1: 0,
        y2: rows.length * step, class: "rule" }));
      svg.append(make("text", { x: x(z), y: rows.length * step + 14,
        "text-anchor": "middle" }, word));
    }
    svg.append(make("text", { x: (left + width) / 2, y: height - 6,
      "text-anchor": "middle" }, data.classes
      ? "score of the class, before the softmax" : "probability (log odds scale)"));
    rows.forEach(([name, , , from, to], i) => {
      const y = i * step;
      svg.append(make("text", { x: left - 6, y: y + 15, "text-anchor": "end" },
        name));
      if (from === to) {
        svg.append(make("line", { x1: x(from), x2: x(from), y1: y + 3,
          y2: y + step - 3, class: "point" }));
      } else {
        svg.append(make("rect", { x: Math.min(x(from), x(to)), y: y + 4,
          width: Math.max(1, Math.abs(x(to) - x(from))), height: step - 8,
          class: to > from ? "bar yes" : "bar no" }));
        svg.append(make("text", { x: Math.max(x(from), x(to)) + 4, y: y + 15 },
          signed(to - from, 2)));
      }
    });
    const table = make("table", {});
    table.append(make("caption", { class: "unseen" }, "How it was decided"),
      make("thead", {}, make("tr", {},
        ...["", "alone", "weight", "adds (log odds)"].map((n) =>
          make("th", { scope: "col" }, n || "source")))));
    const body = make("tbody", {});
    rows.forEach(([name, alone, weight, from, to], i) => {
      const p = alone === null ? "–" : said(alone);
      const edge = i === 0 || i === rows.length - 1;
      body.append(make("tr", {}, make("th", { scope: "row" }, name),
        make("td", {}, i === 0 ? said(to) : p),
        make("td", {}, weight === null ? "–" : weight.toFixed(3)),
        make("td", {}, edge ? "–" : signed(to - from, 3))));
    });
    table.append(body);
    $("case-decision").replaceChildren(svg,
      make("div", { class: "scroll", tabindex: "0", role: "region",
        "aria-label": "How it was decided: numbers" }, table));
  }

  function draw() {
    const one = opened(at.case);
    const truth = one.label[at.label];
    $("case-name").textContent = `Case ${at.case + 1} of ${data.cases.length}`;
    $("case-truth").textContent = `${data.labels[at.label]}: probability `
      + `${one.probability[at.label].toFixed(3)}; the stay `
      + (truth === null ? "has no known outcome."
        : truth ? "has the label." : "does not have the label.");
    $("case-label").value = at.label;
    const first = Math.min(...Object.values(data.thresholds));
    $("case-threshold").value = at.threshold === null ? first : at.threshold;
    $("case-threshold-value").textContent =
      at.threshold === null ? "as trained" : at.threshold.toFixed(2);
    decision(one);
    $("case-modalities").replaceChildren(
      ...data.modalities.map((m) => modality(m, one.modalities[m])));
  }

  function link() {
    const parts = [`case=${at.case + 1}`, `label=${at.label + 1}`];
    if (at.threshold !== null) parts.push(`threshold=${at.threshold}`);
    history.replaceState(null, "", "#" + parts.join("&"));
  }

  function go(step) {
    const n = data.cases.length;
    at.case = (at.case + step + n) % n;
    draw();
    link();
  }

  function read() {
    const found = new URLSearchParams(location.hash.slice(1));
    if (!found.has("case")) return false;
    const number = (name, most) => {
      const value = parseInt(found.get(name) || "1", 10) - 1;
      return value >= 0 && value < most ? value : 0;
    };
    at.case = number("case", data.cases.length);
    at.label = number("label", C);
    const t = parseFloat(found.get("threshold"));
    at.threshold = t >= 0.5 && t <= 1 ? t : null;
    return true;
  }

  $("case-before").addEventListener("click", () => go(-1));
  $("case-next").addEventListener("click", () => go(1));
  $("case-label").addEventListener("change", (event) => {
    at.label = Number(event.target.value);
    draw();
    link();
  });
  $("case-threshold").addEventListener("input", (event) => {
    at.threshold = Number(event.target.value);
    draw();
    link();
  });
  $("case-reset").addEventListener("click", () => {
    at.threshold = null;
    draw();
    link();
  });
  document.addEventListener("keydown", (event) => {
    const typed = event.target.closest("input,select,textarea,.scroll,.text");
    if (typed || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      event.preventDefault();
      go(event.key === "ArrowLeft" ? -1 : 1);
    }
  });
  window.addEventListener("hashchange", () => {
    if (read()) draw();
  });
  if (data.cases.length) {
    if (read()) document.getElementById("cases").scrollIntoView();
    draw();
  }
})();
