// What a choice has beside its figures, read while its panel is open: traces, log lines, the settings in force.
import { el, keyed, set, text } from "/static/dom.js";
import { clock, plural, seconds } from "/static/format.js";

const AGAIN = 5000, SETTINGS_AGAIN = 15000;

// Returns the sections of a choice, and a function that ends their reading.
// `traces` returns the URL of the trace store, if there is one.
export function open(series, traces) {
  const parts = [recent(traces), logs(traces), settings()];
  const leaving = new AbortController();
  for (const part of parts) follow(part, series, leaving.signal);
  return { sections: parts.map((part) => part.section), leave: () => leaving.abort() };
}

async function follow(part, series, signal) {
  const query = new URLSearchParams(series.map((name) => ["name", name]));
  while (!signal.aborted) {
    if (!document.hidden) await read(part, `/api/${part.kind}?${query}`, signal);
    await rest(part.again, signal);
  }
}

async function read(part, url, signal) {
  try {
    const answer = await fetch(url, { signal });
    if (!answer.ok) return;
    const told = await answer.json();
    if (signal.aborted) return;
    text(part.note, told.problem ? `Cannot be read: ${told.problem}` : part.draw(told));
    part.section.dataset.read = told.problem ? "problem" : "yes";
  } catch {
    // The stream says whether the console is there; the next attempt reads again.
  }
}

function rest(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

// A section with a heading of its own. The note says how many there are, or what is wrong.
function section(kind, title, body, ...more) {
  const note = el("span", { class: "soft small", role: "status" }, "Reading…");
  const head = el("div", { class: "panel-head" }, el("h3", { id: `${kind}-title` }, title), note, ...more);
  return { kind, note, section: el("section", { class: `of-choice ${kind}`, "aria-labelledby": `${kind}-title` }, head, body) };
}

// A link to a trace; without a trace store, text.
function traceLink(id, words, traces) {
  const store = traces() ?? "";
  if (!/^https?:/.test(store)) return el("span", {}, words);
  return el("a", { href: `${store.replace(/\/$/, "")}/trace/${encodeURIComponent(id)}`, rel: "noreferrer" }, words);
}

// Traces

function recent(traces) {
  const list = el("ol", { class: "reel rows", tabindex: 0, "aria-labelledby": "traces-title" });
  const draw = ({ rows }) => {
    keyed(list, rows, (trace) => trace.id, (trace) => makeTrace(trace, traces), updateTrace);
    return rows.length ? `the newest ${rows.length}` : "no recent traces";
  };
  return { ...section("traces", "Recent traces", list), again: AGAIN, draw };
}

function makeTrace(trace, traces) {
  return el("li", {}, el("time", {}, clock(trace.start)), traceLink(trace.id, trace.name, traces), el("span", { class: "took" }), el("span", { class: "soft" }));
}

function updateTrace(row, trace) {
  const [, , took, services] = row.children;
  set(row, { "data-failed": trace.failed });
  text(took, `${seconds(trace.duration)}${trace.failed ? ", failed" : ""}`);
  text(services, trace.services.join(" → "));
}

// Log lines

function logs(traces) {
  const list = el("ol", { class: "reel rows log", tabindex: 0, "aria-labelledby": "logs-title" });
  let pinned = true;
  list.addEventListener("scroll", () => { pinned = list.scrollTop + list.clientHeight > list.scrollHeight - 24; });
  const draw = ({ rows, read, of, unread }) => {
    const seen = new Map();
    // Equal lines get numbers, so that each keeps its element.
    const key = (line) => {
      const name = `${line.replica} ${line.at} ${line.text} ${line.fields}`;
      seen.set(name, (seen.get(name) ?? 0) + 1);
      return `${name} ${seen.get(name)}`;
    };
    keyed(list, rows, key, (line) => makeLine(line, traces), () => {});
    if (pinned) list.scrollTop = list.scrollHeight;
    const some = read < of ? ` of ${read} of its ${of} replicas` : "";
    const others = unread.length > 1 ? `, and ${unread.length - 1} more` : "";
    const missing = unread.length ? `. Cannot be read: ${unread[0]}${others}` : "";
    return `${rows.length ? `the last ${plural(rows.length, "line")}` : "no lines"}${some}${missing}`;
  };
  return { ...section("logs", "Last log lines", list), again: AGAIN, draw };
}

function makeLine(line, traces) {
  const when = Date.parse(line.at);
  return el("li", { "data-level": line.level },
    el("time", {}, Number.isNaN(when) ? "" : clock(when / 1000)), el("span", { class: "soft" }, line.replica),
    el("span", { class: "words" }, line.level === "INFO" ? "" : `${line.level} `, line.text, " ", el("span", { class: "soft" }, line.fields),
      ...(line.trace ? [" ", traceLink(line.trace, "trace", traces)] : [])));
}

// Settings

function settings() {
  const head = el("tr", {}, ...["setting", "value", "from"].map((name) => el("th", { scope: "col" }, name)));
  const body = el("tbody");
  const table = el("table", { class: "table settings-table" }, el("thead", {}, head), body);
  const all = el("button", { type: "button", class: "plain", "aria-pressed": "false" }, "Show defaults");
  const made = section("settings", "Settings in force", el("div", { class: "reel", tabindex: 0, role: "region", "aria-label": "Settings" }, table), all);
  let told = { rows: [] };
  const draw = () => {
    const every = all.getAttribute("aria-pressed") === "true";
    const rows = every ? told.rows : told.rows.filter(([, , source]) => source !== "default");
    keyed(body, rows, ([name]) => name, makeSetting, updateSetting);
    return `${plural(rows.length, "setting")} of ${told.of}${every ? "" : " that are not defaults"}`;
  };
  all.addEventListener("click", () => {
    all.setAttribute("aria-pressed", String(all.getAttribute("aria-pressed") !== "true"));
    text(made.note, draw());
  });
  return { ...made, again: SETTINGS_AGAIN, draw: (found) => { told = found; return draw(); } };
}

function makeSetting() {
  return el("tr", {}, el("th", { scope: "row" }), el("td"), el("td"));
}

function updateSetting(tr, values) {
  values.forEach((value, i) => text(tr.children[i], value || "(empty)"));
}
