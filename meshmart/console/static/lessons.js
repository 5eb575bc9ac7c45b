// Lessons and scenes: an admin starts an experiment, everybody sees its lines, its verdict and its figures.
import { $, el, keyed, set, text } from "/static/dom.js";
import { clock } from "/static/format.js";
import { post } from "/static/switches.js";

const HASH = "#lesson/", KEPT = "meshmart-lessons";
let all = null, state = { running: null, results: {} }, version = -1, asking = false, admin = "", view = null;
// What the learner chose for a lesson, and the number of the last experiment then: only a later one answers.
// The tab keeps it over a reload of the page.
const answers = new Map(kept()), results = new Map();

const opened = () => (location.hash.startsWith(HASH) ? all?.lessons.find((l) => HASH + l.name === location.hash) : null);
const last = (experiment) => state.results[experiment];
const newest = () => Math.max(0, state.running?.number ?? 0, ...Object.values(state.results).map((r) => r.number));

function kept() {
  try { return JSON.parse(sessionStorage.getItem(KEPT)) ?? []; } catch { return []; }
}

function choose(lesson, chosen) {
  if (chosen) answers.set(lesson, chosen); else answers.delete(lesson);
  try { sessionStorage.setItem(KEPT, JSON.stringify([...answers])); } catch { /* A browser that stores nothing forgets it at a reload. */ }
  render();
}

export async function prepare() {
  document.addEventListener("admin", (event) => { admin = event.detail; render(); });
  window.addEventListener("hashchange", () => { render(); if (opened()) $("lesson-title").focus(); });
  try {
    const [told, session] = await Promise.all(["/api/experiments", "/api/session"].map(get));
    all = told;
    admin = session.name;
    list();
    await refresh();
    if (opened()) $("lesson-title").focus();
  } catch {
    $("experiments").append(el("p", { class: "notice bad" }, "The lessons could not be loaded: reload the page."));
  }
}

export function draw(frame) {
  if (all && frame.experiments !== version) refresh();
  if (all && (opened() ?? null) !== (view?.lesson ?? null)) render();
  mark();
}

async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function refresh() {
  if (asking) return;
  asking = true;
  try {
    state = await get("/api/experiments/state");
    version = state.version;
    await fetchResult(opened()?.experiment);
    render();
  } catch {
    // The stream says whether the console is there; the next frame asks again.
  } finally { asking = false; }
}

async function fetchResult(experiment) {
  const summary = experiment && last(experiment);
  if (summary && results.get(experiment)?.number !== summary.number) results.set(experiment, await get(`/api/experiments/of/${experiment}`));
}

async function send(path, body, say) {
  text(say, "");
  try {
    state = await post(path, body);
  } catch (error) { text(say, error.message); }
  render();
}

// What the map highlights while a lesson is open.
function mark() {
  const at = new Set(opened()?.look.map((l) => l.at));
  for (const g of document.querySelectorAll("#map .node, #map .edge")) g.classList.toggle("look", at.has(g.dataset.service ?? g.dataset.edge));
}

function render() {
  if (!all) return;
  const lesson = opened(), box = $("lesson");
  box.hidden = !lesson;
  box.parentElement.classList.toggle("learning", Boolean(lesson));
  if (view?.lesson !== lesson) {
    view = lesson ? build(lesson) : null;
    box.replaceChildren(...(view?.parts ?? []));
    if (lesson) fetchResult(lesson.experiment).then(render, () => {});
  }
  if (view) update(view);
  scenes();
  mark();
}

// The list of lessons, and the table of scenes

function list() {
  const said = el("p", { class: "lesson-said", id: "scene-said", role: "status" });
  $("experiments").append(
    el("div", { class: "panel-head" }, el("h2", { id: "lessons-title" }, "Lessons"), el("span", { class: "soft small" }, "predict, break, see, explain")),
    el("ol", { class: "lesson-list" }, ...all.lessons.map((l) => el("li", {}, el("a", { href: HASH + l.name }, l.title), el("span", { class: "soft small" })))),
    el("h2", { id: "scenes-title" }, "Scenes of the tour"),
    el("p", { class: "soft small" }, "Each breaks something under load, measures, and puts it back. One at a time."), said,
    el("div", { id: "scene-run" }),
    el("div", { class: "wide", tabindex: 0, role: "region", "aria-labelledby": "scenes-title" }, el("table", { class: "table", id: "scenes" },
      el("thead", {}, el("tr", {}, ...["scene", "what it shows", "last verdict", "play"].map((name) => el("th", { scope: "col" }, name)))), el("tbody"))),
  );
  $("scene-run").replaceChildren(...runView().parts);
}

function scenes() {
  all.lessons.forEach((l, i) => text($("experiments").querySelectorAll(".lesson-list .soft")[i], verdictText(last(l.experiment))));
  const rows = all.experiments.filter((e) => e.command.startsWith("meshmart tour"));
  keyed($("scenes").tBodies[0], rows, (e) => e.name, sceneRow, (tr, e) => {
    const told = last(e.name), button = tr.querySelector("button");
    set(tr, { "data-scene": e.name, "data-verdict": told?.verdict });
    text(tr.children[2], state.running?.experiment === e.name ? "is being played" : e.refused || verdictText(told));
    tr.children[2].classList.toggle("wrapping", Boolean(e.refused));
    button.disabled = !admin || Boolean(state.running) || Boolean(e.refused);
  });
  const shown = state.running ?? null, run = $("scene-run");
  run.hidden = !shown || shown.experiment === opened()?.experiment;
  if (!run.hidden) updateRun(run.firstChild, shown);
}

function sceneRow(e) {
  const start = () => send("/api/experiments/start", { name: e.name }, $("scene-said"));
  return el("tr", {}, el("th", { scope: "row" }, e.name), el("td", { class: "wrapping" }, e.shows), el("td"),
    el("td", {}, el("button", { type: "button", class: "button quiet compact", onclick: start, "aria-label": `Play ${e.name}` }, "Play")));
}

const verdictText = (told) => (told ? `${told.verdict}, ${clock(told.at)}, by ${told.by}` : "not played yet");

// The lines of what is being played, and the button that stops it

function runView() {
  const stop = el("button", { type: "button", class: "button danger compact", onclick: () => send("/api/experiments/stop", {}, $("scene-said")) }, "Stop");
  return { parts: [el("div", { class: "run" }, el("div", { class: "run-head" }, el("strong"), stop), el("div", { class: "lines", role: "log", tabindex: 0, "aria-label": "What the experiment says" }))] };
}

function updateRun(box, run) {
  const [head, lines] = box.children;
  const over = run.verdict ? `ended: ${run.verdict}` : run.stopping ? "is being stopped, and puts back what it changed" : "is being played";
  text(head.firstChild, `${run.experiment} ${over}, started by ${run.by}`);
  head.lastChild.hidden = Boolean(run.verdict) || !admin;
  head.lastChild.disabled = Boolean(run.stopping);
  const grown = lines.children.length < run.lines.length;
  keyed(lines, run.lines.map((line, n) => ({ line, n })), (l) => `${run.number}/${l.n}/${l.line}`, (l) => el("p", {}, l.line), () => {});
  if (grown) lines.scrollTop = lines.scrollHeight;
}

// One lesson

function build(lesson) {
  const choices = lesson.choices.map((words, i) => el("label", { class: "choice" },
    el("input", { type: "radio", name: "prediction", value: i, checked: answers.get(lesson.name)?.choice === i, onchange: () => choose(lesson.name, { choice: i, after: newest() }) }), el("span", {}, words)));
  const said = el("p", { class: "lesson-said", role: "status" }), why = el("p", { class: "soft small" });
  const start = el("button", { type: "button", class: "button", onclick: () => send("/api/experiments/start", { name: lesson.experiment }, said) }, "Break it and measure");
  const again = el("button", { type: "button", class: "button quiet compact", onclick: () => { for (const c of choices) c.firstChild.checked = false; choices[0].firstChild.disabled = false; choose(lesson.name, null); choices[0].firstChild.focus(); } }, "Predict again");
  const [run] = runView().parts;
  const look = el("ul", {}, ...lesson.look.map((l) => el("li", {}, el("strong", {}, l.at.replace(">", " → ")), ": ", l.text)));
  const verdict = el("p", { class: "verdict", role: "status" }), answer = el("p", { class: "answer" }), told = el("div"), figures = el("table", { class: "table figures" });
  const explained = el("div", { class: "explained", hidden: true }, verdict, answer, told,
    el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Figures and bounds" }, figures),
    el("h4", {}, "Why"), ...lesson.why.map((line) => el("p", {}, line)),
    el("h4", {}, "The same by command"), ...[lesson.command, ...lesson.by_hand].map((line) => el("p", {}, el("code", {}, line))),
    el("p", {}, el("a", { href: lesson.page, rel: "noreferrer" }, "Read more in the documentation")), again);
  const waiting = el("p", { class: "soft" }, "After the measurement, the explanation is here.");
  const step = (n, title, ...parts) => el("section", { class: "step", "aria-label": title }, el("h3", {}, `${n}. ${title}`), ...parts);
  return {
    lesson, choices, said, why, start, run, verdict, answer, told, figures, explained, waiting,
    parts: [
      el("div", { class: "panel-head" }, el("h2", { id: "lesson-title", tabindex: -1 }, lesson.title), el("span", { class: "soft small" }, "a lesson"),
        el("button", { type: "button", class: "close", "aria-label": "Close the lesson", onclick: leave }, "✕")),
      el("div", { class: "steps" },
        step(1, "Predict", ...lesson.intro.map((line) => el("p", {}, line)), el("fieldset", {}, el("legend", {}, lesson.question), ...choices)),
        step(2, "Break", start, why, said, run),
        step(3, "See", look),
        step(4, "Explain", waiting, explained)),
    ],
  };
}

function leave() {
  history.replaceState(null, "", " ");
  const name = view?.lesson.name;
  render();
  $("experiments").querySelector(`a[href="${HASH}${name}"]`)?.focus();
}

function update({ lesson, choices, why, start, run, verdict, answer, told, figures, explained, waiting }) {
  const mine = answers.get(lesson.name), running = state.running, own = running?.experiment === lesson.experiment ? running : null;
  const result = results.get(lesson.experiment), over = mine && !own && result?.number > mine.after ? result : null;
  for (const [i, choice] of choices.entries()) {
    choice.firstChild.disabled = Boolean(mine && (own || over));
    choice.classList.toggle("right", Boolean(over) && over.lessons[lesson.name]?.answer === i);
  }
  start.disabled = !mine || !admin || Boolean(running);
  text(why, !mine ? "Answer the question first." : running && !own ? `${running.experiment} is being played, by ${running.by}.` : !admin ? "Only an admin can start it: log in first. You can watch what others start." : own ? "" : `It runs ${lesson.command}.`);
  run.hidden = !own && !over;
  if (own || over) updateRun(run, own ?? over);
  const fresh = over && explained.hidden;
  explained.hidden = !over;
  waiting.hidden = Boolean(over);
  if (!over) return;
  set(verdict, { "data-verdict": over.verdict });
  text(verdict, over.outcome ? `The lesson ${over.verdict === "not measured" ? "was not measured" : over.verdict}.` : `The experiment ${over.verdict === "stopped" ? "was stopped" : over.verdict}. ${over.problem}`);
  const said = over.lessons[lesson.name];
  text(answer, said?.answer == null ? "" : said.answer === mine.choice ? `You were right: ${lesson.choices[said.answer]}` : `You said: ${lesson.choices[mine.choice]} The measurement says: ${lesson.choices[said.answer]}`);
  told.replaceChildren(...(said?.text ?? []).map((line) => el("p", {}, line)));
  const head = el("thead", {}, el("tr", {}, ...["figure", "measured", "bound", "kept?"].map((name) => el("th", { scope: "col" }, name))));
  figures.replaceChildren(head, el("tbody", {}, ...(over.outcome?.checks ?? []).map((c) => el("tr", { "data-passed": String(c.passed) },
    el("th", { scope: "row", class: "wrapping" }, c.what), el("td", {}, c.measured_text), el("td", {}, c.bound_text), el("td", {}, c.passed ? "kept" : "missed")))));
  if (fresh) showAtTop(explained.parentElement);
}

// Scrolls the lesson, where it scrolls by itself beside the map.
function showAtTop(part) {
  const box = $("lesson");
  box.scrollTop += part.getBoundingClientRect().top - box.getBoundingClientRect().top - 12;
}
