// The live page: follows the process's events, draws what they say, and passes requests on.
"use strict";

const BATCHES_KEPT = 60;
const RATE_MS = 10e3;
const $ = (id) => document.getElementById(id);

/** All that is known, by query. */
const queries = new Map();
let selected = decodeURIComponent(location.hash.slice(1)) || null;
let chosen = null;
/** In memory only: a reload asks again. */
let token = null;
let following = null;
let wait = 500;
/** The process's clock less ours, in milliseconds. */
let skew = 0;

/* ---- the process ---- */

function headers() {
  const all = { "X-Tidemill": "page" };
  if (token) all.Authorization = `Bearer ${token}`;
  return all;
}

function tell(state, text) {
  $("link").dataset.state = state;
  if ($("link").textContent !== text) $("link").textContent = text;
}

/** Why a token is asked for again. */
const REFUSED = {
  401: "That is not the token.",
  403: "That token is for something else.",
  429: "Too many wrong tokens: wait a minute.",
};

/** Follows events until they end, then again after a pause. A change of the query that is looked at begins anew. */
async function follow() {
  following?.abort();
  const mine = (following = new AbortController());
  while (following === mine) {
    try {
      const wanted = selected ? `?query=${encodeURIComponent(selected)}` : "";
      const answer = await fetch(`events${wanted}`, { headers: headers(), signal: mine.signal, cache: "no-store" });
      if (answer.status in REFUSED && (token !== null || answer.status === 401)) return askForToken(answer.status);
      if (!answer.ok) throw new Error(await answer.text());
      wait = 500;
      await read(answer.body.getReader());
      tell("lost", "the process has ended");
    } catch (error) {
      if (mine.signal.aborted) return;
      tell("lost", "no connection, trying again");
    }
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(wait * 2, 8000);
  }
}

async function read(reader) {
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const event = text.slice(0, end);
      text = text.slice(end + 2);
      if (event.startsWith("data: ")) take(JSON.parse(event.slice(6)));
    }
  }
}

function askForToken(status) {
  tell("lost", "waiting for a token");
  $("login").hidden = false;
  $("main").hidden = $("queries").hidden = true;
  $("login-note").textContent = token !== null ? REFUSED[status] : "";
  $("token").focus();
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  $("token").value = "";
  $("login").hidden = true;
  follow();
});

/* ---- what is known ---- */

function take(event) {
  tell("live", "live");
  skew = event.now - Date.now();
  if (event.pipeline !== undefined) {
    $("pipeline").textContent = event.pipeline;
    document.title = `${event.pipeline} · Tidemill`;
    $("version").textContent = `Tidemill ${event.version}`;
    $("insecure").hidden = !event.isInsecure;
    // A connection begins with everything.
    for (const query of queries.values()) query.batches = [];
  }
  for (const change of event.queries) merge(change);
  if (!queries.has(selected)) {
    selected = queries.keys().next().value ?? null;
    return follow();
  }
  draw();
}

function merge(change) {
  let query = queries.get(change.name);
  if (!query) queries.set(change.name, (query = { name: change.name, batches: [], samples: [], results: [], malformed: [], run: 0 }));
  if (query.status && query.status.state === "starting" && change.status.state !== "starting") query.run += 1;
  query.status = change.status;
  query.totals = change.totals;
  if (change.results) query.results = change.results;
  if (change.malformed) query.malformed = change.malformed;
  change.batches.forEach((batch, at) => {
    batch.key = change.pushed - change.batches.length + at;
    query.batches.push(batch);
  });
  query.batches.splice(0, query.batches.length - BATCHES_KEPT);
  if (query.samples.length && change.totals.rows_read < query.samples.at(-1).read) query.samples = [];
  const newest = change.batches.at(-1);
  if (newest) {
    query.samples.push({ at: Date.parse(newest.at), read: change.totals.rows_read, out: change.totals.rows_emitted });
  }
  while (query.samples.length > 3 && query.samples[1].at < Date.parse(query.batches.at(-1).at) - RATE_MS) query.samples.shift();
}

/** Rows per second over the last seconds; before there are two looks, what the last batch says. */
function rate(query, key) {
  const first = query.samples[0], last = query.samples.at(-1);
  const span = last ? last.at - first.at : 0;
  if (span > 1500) {
    // A silence that is longer than those between batches was without rows.
    const silence = Date.now() + skew - last.at;
    const usual = (2 * span) / (query.samples.length - 1) + 1000;
    return ((last[key] - first[key]) * 1000) / (span + (silence > usual ? silence : 0));
  }
  const batch = query.batches.findLast((batch) => batch.phases);
  return batch ? perSecond(batch, key) : 0;
}

function perSecond(batch, key) {
  if (key === "read") return batch.inPerSecond;
  return batch.in ? (batch.inPerSecond * batch.out) / batch.in : 0;
}

/** What the query is doing, in one word. */
function stateOf({ state, isHeld }) {
  if (state === "paused") return isHeld ? "paused" : "retrying";
  return state;
}

/* ---- drawing ---- */

let isDue = false;
function draw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    const query = queries.get(selected);
    if (!query) return;
    $("main").hidden = false;
    drawNavigation();
    drawHead(query);
    drawFigures(query);
    drawBatches(query);
    $("ledger").replaceChildren(ledgerFlow(query.totals));
    drawResults(query);
    drawMalformed(query);
    drawPlan(query);
  });
}

/** Sets a text only where it has changed, so that screen readers and selections are left in peace. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function drawNavigation() {
  const nav = $("queries");
  nav.hidden = queries.size < 2;
  if (nav.hidden) return;
  for (const query of queries.values()) {
    let card = query.card;
    if (!card) {
      card = query.card = html("button", { className: "query", type: "button" });
      query.parts = { dot: html("span", { className: "dot" }), name: html("b", {}), note: html("small", {}), chart: html("span", {}) };
      query.parts.name.append(query.parts.dot, query.name);
      card.append(query.parts.name, query.parts.note, query.parts.chart);
      card.addEventListener("click", () => select(query.name));
      nav.append(card);
    }
    const state = stateOf(query.status);
    query.parts.dot.dataset.state = state;
    put(query.parts.note, state === "running" ? `${count(rate(query, "read"))} rows/s` : state);
    const chart = sparkline(query.batches.map((batch) => perSecond(batch, "read")), 64, 28);
    chart.setAttribute("width", 64);
    chart.setAttribute("height", 28);
    query.parts.chart.replaceWith(chart);
    query.parts.chart = chart;
    card.setAttribute("aria-current", query.name === selected);
  }
}

function select(name) {
  if (name === selected) return;
  selected = name;
  chosen = null;
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  follow();
  draw();
}

function drawHead(query) {
  const state = stateOf(query.status);
  put($("name"), query.name);
  put($("state"), state);
  $("state").dataset.state = state;
  const message = query.status.isHeld && state === "running" ? "Pausing after this batch" : query.status.message;
  put($("message"), state === "failed" ? "" : message);
  $("error").hidden = !query.status.error;
  put($("error"), query.status.error || "");
  const isUp = state !== "stopped" && state !== "failed";
  // The button that is there takes the focus of the one that goes.
  const swap = document.activeElement === $("pause") || document.activeElement === $("resume");
  $("pause").hidden = query.status.isHeld;
  $("resume").hidden = !query.status.isHeld;
  if (swap) (query.status.isHeld ? $("resume") : $("pause")).focus();
  $("pause").disabled = $("stop").disabled = !isUp;
}

function figure(title, [number, unit], values) {
  const chart = sparkline(values, 160, 30);
  return html("div", { className: "figure" }, html("h3", {}, title), html("strong", {}, number, html("small", {}, unit)), chart);
}

function drawFigures(query) {
  const ran = query.batches.filter((batch) => batch.phases);
  const last = ran.at(-1);
  const all = [
    figure("Rows in", [count(rate(query, "read")), "per second"], query.batches.map((batch) => perSecond(batch, "read"))),
    figure("Rows out", [count(rate(query, "out")), "per second"], query.batches.map((batch) => perSecond(batch, "out"))),
    figure("Batch time", last ? time(last.ms) : ["–", ""], ran.map((batch) => batch.ms)),
  ];
  const lag = query.batches.filter((batch) => batch.triggerLagMs !== null);
  if (lag.length) all.push(figure("Trigger lag", time(lag.at(-1).triggerLagMs), lag.map((batch) => batch.triggerLagMs)));
  const behind = query.batches.filter((batch) => batch.watermarkLagMs !== null);
  const watermark = behind.at(-1);
  if (watermark) {
    // Before the first rows a watermark stands at 1970.
    const isSet = (batch) => batch.watermarkLagMs < 50 * 365 * 864e5;
    const seen = behind.filter(isSet).map((batch) => Math.max(0, batch.watermarkLagMs));
    all.push(figure("Watermark lag", isSet(watermark) ? time(Math.max(0, watermark.watermarkLagMs)) : ["–", ""], seen));
  }
  if (last && last.isStateful) {
    const [bytes, unit] = size(last.stateBytes);
    all.push(figure("State", [count(last.stateRows), `rows, ${bytes} ${unit}`], ran.map((batch) => batch.stateRows)));
  }
  $("figures").replaceChildren(...all);
}

/* ---- batches ---- */

for (const [, name, style] of PHASES) $("legend").append(html("li", { className: style }, name));

function drawBatches(query) {
  const ran = query.batches.filter((batch) => batch.phases);
  const strip = $("strip");
  // A finger or a pointer holds on to what is under it; the strip is drawn again only when it differs.
  const width = strip.clientWidth || 600;
  const state = `${query.name} ${query.run} ${ran.at(0)?.key} ${ran.at(-1)?.key} ${width} ${chosen}`;
  if (strip.dataset.drawn !== state) {
    strip.dataset.drawn = state;
    strip.replaceChildren(batchStrip(ran, width, chosen, choose));
  }
  const batch = ran.find((batch) => batch.key === chosen) || ran.at(-1);
  const readout = $("readout");
  if (!batch) return put(readout, "No batch yet.");
  const is = `${query.name} ${batch.key} ${chosen}`;
  if (readout.dataset.batch === is) return;
  readout.dataset.batch = is;
  // What follows the newest batch is not read out each time.
  readout.setAttribute("aria-live", chosen === null ? "off" : "polite");
  const spent = PHASES.filter(([key]) => batch.phases[key]).map(([key, name]) => `${name} ${time(batch.phases[key] / 1000).join(" ")}`);
  const at = new Date(batch.at).toLocaleTimeString("en-GB");
  readout.replaceChildren(
    html("b", {}, `Batch ${batch.id}`),
    ` at ${at}: ${whole.format(batch.in)} rows in, ${whole.format(batch.out)} out, ${time(batch.ms).join(" ")} · ${spent.join(", ")}`,
  );
}

function choose(key) {
  chosen = key;
  draw();
}

$("strip").addEventListener("pointerleave", () => choose(null));
$("strip").addEventListener("blur", () => choose(null));
$("strip").addEventListener("keydown", (event) => {
  const ran = queries.get(selected)?.batches.filter((batch) => batch.phases) || [];
  if (!ran.length) return;
  const at = ran.findIndex((batch) => batch.key === chosen);
  const from = at < 0 ? ran.length - 1 : at;
  const steps = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: ran.length - 1 };
  if (event.key === "Escape") return choose(null);
  if (!(event.key in steps)) return;
  event.preventDefault();
  choose(ran[Math.max(0, Math.min(ran.length - 1, steps[event.key]))].key);
});

/* ---- rows ---- */

function cell(value) {
  if (value === null) return html("td", { className: "null" }, "null");
  if (typeof value === "object") return html("td", { className: "number" }, value.number);
  return html("td", {}, String(value));
}

function drawResults(query) {
  const promises = query.status.sinks.map((sink) => `${sink.name}: ${sink.guarantee}`).join(", ");
  put($("sinks"), promises);
  if ($("results").drawn === query.results) return;
  $("results").drawn = query.results;
  if (!query.results.length) return $("results").replaceChildren(html("p", { className: "muted" }, "No rows yet."));
  const tables = query.results.map(({ sink, columns, rows }) => {
    const isNumber = columns.map((_, at) => rows.some((row) => row.values[at] !== null && typeof row.values[at] === "object"));
    const title = (name, at) => html("th", { scope: "col", className: isNumber[at] ? "number" : "" }, name);
    const head = html("tr", {}, html("th", { scope: "col" }, "batch"), ...columns.map(title));
    const body = rows.toReversed().map((row) => html("tr", {}, html("td", { className: "muted" }, String(row.batch)), ...row.values.map(cell)));
    const table = html("table", {}, html("thead", {}, head), html("tbody", {}, ...body));
    const scroll = html("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": `Latest rows of ${sink}` }, table);
    return query.results.length > 1 ? html("div", {}, html("p", { className: "sink-name" }, sink), scroll) : scroll;
  });
  $("results").replaceChildren(...tables);
}

function drawMalformed(query) {
  if ($("malformed").drawn === query.malformed) return;
  $("malformed").drawn = query.malformed;
  $("malformed-card").hidden = !query.malformed.length;
  const lines = query.malformed.toReversed().map((sample) => {
    const what = html("b", {}, sample.field ? `${sample.field}: ${sample.reason}` : sample.reason);
    const where = html("span", { className: "muted" }, ` · ${sample.source}, batch ${sample.batch}, ${sample.origin}:${sample.position}`);
    return html("li", {}, what, where, html("code", {}, sample.line || " "));
  });
  $("malformed").replaceChildren(html("ul", { className: "lines" }, ...lines));
}

/* ---- the plan ---- */

async function drawPlan(query) {
  const width = $("plan").clientWidth || 400;
  const is = `${query.name} ${query.run} ${query.status.state === "starting"} ${width}`;
  if ($("plan").dataset.drawn === is) return;
  $("plan").dataset.drawn = is;
  try {
    const answer = await fetch(`queries/${encodeURIComponent(query.name)}/plan`, { headers: headers() });
    const plan = answer.ok ? await answer.json() : null;
    if (query.name !== selected) return;
    const sinks = query.status.sinks.map((sink) => sink.name).join(", ");
    $("plan").replaceChildren(plan ? planPicture(plan, sinks, width) : html("p", { className: "muted" }, "Not planned yet."));
  } catch {
    $("plan").dataset.drawn = "";
  }
}

new ResizeObserver(draw).observe($("strip"));

/* ---- control ---- */

async function act(action) {
  const name = selected;
  $("done").textContent = "";
  try {
    const answer = await fetch(`queries/${encodeURIComponent(name)}/${action}`, { method: "POST", headers: headers() });
    $("done").textContent = answer.ok ? `${name}: ${action} asked for` : `${name}: ${await answer.text()}`;
  } catch {
    $("done").textContent = `${name}: no connection`;
  }
}

for (const action of ["pause", "resume", "restart"]) $(action).addEventListener("click", () => act(action));
$("stop").addEventListener("click", () => {
  $("confirm-title").textContent = `Stop ${selected}?`;
  $("confirm-text").textContent = "It ends after its current batch. Its sources keep what comes, as far as they can, and it can be restarted from its checkpoint here.";
  $("confirm").showModal();
});
$("confirm-no").addEventListener("click", () => $("confirm").close());
$("confirm-yes").addEventListener("click", () => {
  $("confirm").close();
  act("stop");
});

// Rates fall while nothing comes.
setInterval(() => document.hidden || draw(), 1000);
follow();
