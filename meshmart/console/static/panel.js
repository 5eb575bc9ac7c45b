// What a choice has beside its figures, read while its panel is open: the settings in force.
import { el, keyed, text } from "/static/dom.js";
import { plural } from "/static/format.js";

const SETTINGS_AGAIN = 15000;

// Returns the sections of a choice, and a function that ends their reading.
export function open(series) {
  const parts = [settings()];
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
    text(part.note, told.problem ? `Not to be had: ${told.problem}` : part.draw(told));
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
