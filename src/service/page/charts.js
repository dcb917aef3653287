// Everything that is drawn. Text only ever becomes text: no markup is made from data.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

/** The phases of a batch, in order. */
const PHASES = [
  ["planUs", "plan", "plan-us"],
  ["readUs", "read", "read-us"],
  ["decodeUs", "decode", "decode-us"],
  ["runUs", "run", "run-us"],
  ["prepareUs", "prepare", "prepare-us"],
  ["commitUs", "commit", "commit-us"],
];

/** An SVG element with attributes and children; strings become text. */
function svg(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** An HTML element with properties and children; strings become text. */
function html(name, properties, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties || {})) {
    if (key in element && !key.includes("-")) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

/** `12,345`, or `1.23M` where that is too long. */
function count(number) {
  if (number >= 1e5) return short.format(number);
  return number < 10 && number % 1 ? number.toFixed(1) : whole.format(Math.round(number));
}

/** Milliseconds as `[number, unit]` that reads well. */
function time(ms) {
  if (ms < 1) return [ms ? (ms < 0.01 ? ms.toFixed(3) : ms.toFixed(2)) : "0", "ms"];
  if (ms < 10) return [ms.toFixed(1), "ms"];
  if (ms < 1000) return [String(Math.round(ms)), "ms"];
  if (ms < 60e3) return [(ms / 1e3).toFixed(1), "s"];
  if (ms < 3600e3) return [(ms / 60e3).toFixed(1), "min"];
  if (ms < 864e5) return [(ms / 3600e3).toFixed(1), "h"];
  return [count(ms / 864e5), "days"];
}

/** Bytes as `[number, unit]`. */
function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < 4) {
    bytes /= 1024;
    unit += 1;
  }
  return [unit && bytes < 10 ? bytes.toFixed(1) : String(Math.round(bytes)), units[unit]];
}

/** A line over its area, from 0 to the largest of `values`; it fills its box. */
function sparkline(values, width, height) {
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  if (values.length < 2) return chart;
  const top = Math.max(...values) || 1;
  const x = (at) => ((at / (values.length - 1)) * width).toFixed(1);
  const y = (value) => (height - 2 - (value / top) * (height - 4)).toFixed(1);
  const line = values.map((value, at) => `${at ? "L" : "M"}${x(at)} ${y(value)}`).join("");
  chart.append(
    svg("path", { class: "spark-area", d: `${line}L${width} ${height}L0 ${height}Z` }),
    svg("path", { class: "spark-line", d: line }),
  );
  return chart;
}

/** A scale's upper end: a short number. */
function rounded(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 5, 7.5, 10].find((step) => value <= step * power) * power;
}

/** A column per batch, divided by phase; `chosen` is the batch whose column is marked. */
function batchStrip(batches, width, chosen, choose) {
  const height = 132, left = 46, foot = 18, plot = height - foot - 6;
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  const total = (batch) => PHASES.reduce((sum, [key]) => sum + batch.phases[key], 0);
  const top = rounded(Math.max(1, ...batches.map(total)));
  for (const part of [0, 0.5, 1]) {
    const y = 6 + plot * (1 - part);
    chart.append(svg("line", { class: "grid", x1: left, x2: width, y1: y, y2: y }));
    const [number, unit] = time((top * part) / 1000);
    if (part) chart.append(svg("text", { class: "tick", x: left - 6, y: y + 4, "text-anchor": "end" }, `${Number(number)} ${unit}`));
  }
  const step = (width - left) / Math.max(batches.length, 24);
  const bar = Math.max(2, Math.min(22, step - 3));
  batches.forEach((batch, at) => {
    const x = left + at * step;
    const column = svg("g", { class: batch.key === chosen ? "column chosen" : "column" });
    column.append(svg("rect", { class: "hit", x, y: 0, width: step, height: height - foot, rx: 3 }));
    let y = 6 + plot;
    for (const [key, , style] of PHASES) {
      const part = (batch.phases[key] / top) * plot;
      if (part <= 0) continue;
      y -= part;
      column.append(svg("rect", { class: style, x: x + (step - bar) / 2, y, width: bar, height: Math.max(part, 0.4) }));
    }
    column.addEventListener("pointerenter", () => choose(batch.key));
    column.addEventListener("click", () => choose(batch.key));
    chart.append(column);
  });
  const label = (at, anchor, x) => chart.append(svg("text", { class: "tick", x, y: height - 4, "text-anchor": anchor }, `#${batches[at].id}`));
  if (batches.length) label(0, "start", left);
  if (batches.length > 4) label(batches.length - 1, "end", left + batches.length * step);
  return chart;
}

/** Rows read, less each loss, down to rows emitted. */
function ledgerFlow(totals) {
  const rows = html("div", { className: "ledger" });
  const top = Math.max(totals.rows_read + totals.rows_lost, totals.rows_emitted, 1);
  const dropped = Object.entries(totals.rows_dropped);
  const share = (part) => (totals.rows_read ? ` · ${((part / totals.rows_read) * 100).toFixed(part * 1000 < totals.rows_read ? 2 : 1)} %` : "");
  const line = (what, number, style, from, detail) => {
    const chart = svg("svg", { viewBox: "0 0 100 26", preserveAspectRatio: "none", "aria-hidden": "true" });
    const width = (number / top) * 100;
    chart.append(svg("rect", { class: style, x: (from / top) * 100, y: 4, width: number ? Math.max(width, 0.6) : 0, height: 18 }));
    const name = html("div", { className: "what" }, what, html("small", {}, whole.format(number) + (detail || "")));
    rows.append(html("div", { className: "flow" }, name, chart));
  };
  line("read", totals.rows_read, "pass", 0);
  let left = totals.rows_read;
  const loss = (what, number) => {
    if (!number) return false;
    left = Math.max(0, left - number);
    line(`− ${what}`, number, "loss", left, share(number));
    return true;
  };
  const none = [];
  for (const [reason, number] of dropped) loss(`dropped, ${reason}`, number);
  if (!dropped.length) none.push("dropped");
  line("decoded", totals.rows_decoded, "pass", 0);
  left = totals.rows_decoded;
  for (const [what, key] of [["late", "rows_late"], ["too far in the future", "rows_future"], ["failed calls", "rows_failed_call"]]) {
    if (!loss(what, totals[key])) none.push(what);
  }
  line("emitted", totals.rows_emitted, "result", 0);
  const also = [];
  const kept = totals.rows_malformed - (totals.rows_dropped.malformed || 0);
  if (kept > 0) also.push(`${whole.format(kept)} malformed, read as far as they went`);
  if (totals.rows_dead_lettered) also.push(`${whole.format(totals.rows_dead_lettered)} to the dead letter`);
  if (totals.rows_lost) also.push(`${whole.format(totals.rows_lost)} gone from the source before they were read`);
  if (none.length) also.push(`none ${none.join(", ")}`);
  if (also.length) rows.append(html("p", { className: "quiet" }, also.join(" · ")));
  return rows;
}

/** The plan as boxes from sources (above) to sinks (below). */
function planPicture(root, sinks, width) {
  const gap = 26, space = 16, pad = 10;
  const leaves = (node) => (node.inputs.length ? node.inputs.reduce((sum, input) => sum + leaves(input), 0) : 1);
  const depth = (node) => 1 + Math.max(0, ...node.inputs.map(depth));
  const lanes = leaves(root);
  const box = Math.max(150, Math.min(330, (width - 4 - (lanes - 1) * space) / lanes));
  const perLine = Math.floor((box - 2 * pad) / 6.1);
  const chart = svg("svg", {});
  const edges = svg("g", {});
  const boxes = svg("g", {});
  const lines = (text, most) => {
    const found = [];
    let rest = text;
    while (rest && found.length < most) {
      let cut = rest.length <= perLine ? rest.length : rest.lastIndexOf(" ", perLine);
      if (cut < perLine / 2) cut = Math.min(perLine, rest.length);
      found.push(rest.slice(0, cut).trim());
      rest = rest.slice(cut).trim();
    }
    if (rest) found[found.length - 1] = found[found.length - 1].slice(0, perLine - 1) + "…";
    return found;
  };
  const draw = (name, detail, x, y, style) => {
    const below = lines(detail, 2);
    const height = 26 + below.length * 15 + (below.length ? 4 : 0);
    const node = svg("g", { class: `node ${style}` });
    node.append(svg("title", {}, detail ? `${name}: ${detail}` : name));
    node.append(svg("rect", { x, y, width: box, height, rx: 8 }));
    node.append(svg("text", { x: x + pad, y: y + 18, "font-weight": 600 }, name));
    below.forEach((line, at) => node.append(svg("text", { class: "detail", x: x + pad, y: y + 35 + at * 15 }, line)));
    boxes.append(node);
    return { x: x + box / 2, top: y, bottom: y + height };
  };
  const link = (from, to) => {
    const middle = (from.bottom + to.top) / 2;
    edges.append(svg("path", { class: "edge", d: `M${from.x} ${from.bottom}C${from.x} ${middle} ${to.x} ${middle} ${to.x} ${to.top - 5}` }));
    edges.append(svg("path", { class: "arrow", d: `M${to.x - 4} ${to.top - 7}h8l-4 6z` }));
  };
  // Below all of its inputs, in the middle of their lanes.
  const place = (node, lane) => {
    let next = lane;
    const inputs = node.inputs.map((input) => {
      const placed = place(input, next);
      next += leaves(input);
      return placed;
    });
    const y = inputs.length ? Math.max(...inputs.map((input) => input.bottom)) + gap : 1;
    const x = inputs.length ? inputs.reduce((sum, input) => sum + input.x, 0) / inputs.length - box / 2 : 1 + lane * (box + space);
    const keeps = node.name.startsWith("Stateful") || /deduplicate|session|limit/i.test(node.name);
    const placed = draw(node.name, node.detail, x, y, node.inputs.length ? (keeps ? "keeps" : "") : "ends");
    inputs.forEach((input) => link(input, placed));
    return placed;
  };
  const last = place(root, 0);
  const end = draw("Sinks", sinks, last.x - box / 2, last.bottom + gap, "ends");
  link(last, end);
  const full = Math.max(lanes * box + (lanes - 1) * space, box) + 2;
  chart.append(edges, boxes);
  chart.setAttribute("viewBox", `0 0 ${full} ${end.bottom + 2}`);
  chart.setAttribute("width", full);
  chart.setAttribute("height", end.bottom + 2);
  return chart;
}
