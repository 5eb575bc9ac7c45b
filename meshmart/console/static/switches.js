// The switches: log-in, what can be done to a service or replica, and what is disturbed now. Only admins change.
import { $, el, hide, keyed, text } from "/static/dom.js";
import { clock, span } from "/static/format.js";

const SHOWN = 15;
let table = null, admin = "", frame = null, mine = new Set(), place = null, logged = "";

// Sends a change and returns the answer. Raises an error with the reason if it is refused.
export async function post(path, body) {
  const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const told = await answer.json().catch(() => ({ error: `The console answered with the status ${answer.status}.` }));
  if (answer.status === 401 && path !== "/api/login") became("");
  if (!answer.ok) throw new Error(told.error);
  return told;
}

export async function prepare() {
  $("switches").append(
    el("div", { class: "panel-head" }, el("h2", { id: "switches-title" }, "Switches"),
      el("span", { class: "soft small", id: "switches-who" }), el("button", { type: "button", id: "log-out", class: "push", hidden: true, onclick: logOut }, "Log out")),
    logInForm(), el("p", { class: "said", id: "said", role: "status", "aria-live": "polite" }),
    el("div", { id: "global", class: "global", hidden: true }),
    el("h3", { id: "disturbed-title" }, "Disturbed now"), el("p", { class: "soft small", id: "disturbed-none" }, "Nothing."),
    el("ul", { class: "disturbed", id: "disturbed", "aria-labelledby": "disturbed-title" }),
    el("details", { ontoggle: showLog }, el("summary", {}, "Log of actions"), el("ol", { class: "log", id: "log", tabindex: 0, "aria-label": "Log of actions" })),
  );
  try {
    const [actions, session] = await Promise.all([fetch("/api/actions"), fetch("/api/session")].map(async (r) => (await r).json()));
    table = new Map(actions.actions.map((action) => [action.name, action]));
    $("global").append(
      el("button", { type: "button", class: "strong", id: "put-back", onclick: () => send("/api/put-back", {}) }, "Put everything back"),
      form("load", {}), form("rotate", {}));
    became(session.name);
  } catch {
    say("The switches could not be loaded: reload the page.", true);
  }
}

function logInForm() {
  const name = el("input", { id: "name", name: "name", autocomplete: "username", required: true, maxlength: 254 });
  const password = el("input", { id: "password", name: "password", type: "password", autocomplete: "current-password", required: true, maxlength: 1024 });
  return el("form", { id: "log-in", class: "act", hidden: true, onsubmit: async (event) => {
    event.preventDefault();
    try {
      const told = await post("/api/login", { name: name.value, password: password.value });
      became(told.name);
      say(`You are logged in as ${told.name}.`);
      $("put-back").focus();
    } catch (error) { say(error.message, true); }
    password.value = "";
  } }, el("p", { class: "soft small" }, "To change something, log in with an admin’s account of the shop."),
  el("label", {}, "Name", name), el("label", {}, "Password", password), el("button", { class: "strong" }, "Log in"));
}

async function logOut() {
  try { await post("/api/logout", {}); became(""); say("You are logged out."); } catch (error) { say(error.message, true); }
}

function became(name) {
  admin = name;
  $("log-in").hidden = Boolean(name);
  $("log-out").hidden = $("global").hidden = !name;
  text($("switches-who"), name ? `logged in as ${name}` : "");
  document.body.classList.toggle("admin", Boolean(name));
  document.dispatchEvent(new CustomEvent("admin", { detail: name }));
  fill();
  if (frame) draw(frame);
}

function say(words, bad = false) {
  text($("said"), words);
  $("said").classList.toggle("bad", bad);
}

async function send(path, body) {
  try {
    const told = await post(path, body);
    mine.add(told.id);
    say(`${told.words} …`);
  } catch (error) { say(error.message, true); }
}

// A form of an action. `fixed` are the arguments that are known: the service, the replica.
function form(name, fixed) {
  const action = table.get(name);
  const inputs = action.parameters.filter((p) => !(p.name in fixed)).map((p) => [p, field(p)]);
  const submit = (event) => {
    event.preventDefault();
    const given = { ...fixed };
    for (const [p, input] of inputs) if (input.value !== "") given[p.name] = p.kind === "number" ? Number(input.value) : input.value;
    send("/api/do", { action: name, arguments: given });
  };
  return el("form", { class: "act", "data-action": name, onsubmit: submit },
    ...inputs.map(([p, input]) => el("label", {}, LABELS[p.name] ?? p.name, input)), el("button", {}, action.title));
}

const LABELS = { seconds: "for seconds", rps: "per second", delay_ms: "delay in ms", code: "error", kind: "fault" };

function field(p) {
  if (p.kind === "choice") return el("select", { name: p.name }, ...p.options.map((o) => el("option", {}, o)));
  if (p.kind === "number") return el("input", { name: p.name, type: "number", min: p.least, max: p.most, step: p.whole ? 1 : "any", value: p.default, required: p.default === null });
  return el("input", { name: p.name, maxlength: 63, required: !p.optional, placeholder: p.optional ? "all" : null });
}

// A place for the actions that apply to a choice. It is filled while an admin is logged in.
export function actionsFor(service, replica) {
  place = { box: el("div"), service, replica };
  fill();
  return place.box;
}

function fill() {
  if (!place) return;
  const { box, service, replica } = place;
  if (!admin || !table) return box.replaceChildren();
  const fixed = { service, ...(replica ? { replica } : {}) };
  const names = replica ? ["kill", "crash", "pause", "fault"] : ["restart", "scale", "fault"];
  box.replaceChildren(el("section", { class: "actions", "aria-label": `Switches of ${service}${replica ? `/${replica}` : ""}` },
    ...names.map((name) => form(name, name === "fault" ? { replica: 0, ...fixed } : fixed))));
}

export function draw(now) {
  frame = now;
  const { running = [], disturbed = [], outcomes = [] } = frame.switches ?? {};
  hide($("disturbed-none"), running.length + disturbed.length > 0);
  const items = [...running.map((r) => ({ ...r, running: true })), ...disturbed];
  keyed($("disturbed"), items, (d) => d.id, (d) => el("li", {}, el("span"), el("span", { class: "soft small" }),
    d.running ? null : el("button", { type: "button", onclick: () => send("/api/undo", { id: d.id }) }, "Put back")), (li, d) => {
    text(li.children[0], d.running ? `${d.words} …` : d.words);
    text(li.children[1], d.running ? "being done" : `by ${d.who}, ends in ${span(d.left)}`);
    li.children[2]?.setAttribute("aria-label", `Put back: ${d.words}`);
    if (li.children[2]) li.children[2].hidden = !admin;
  });
  for (const outcome of outcomes) {
    if (mine.delete(outcome.id)) say(outcome.words, outcome.failed);
  }
  const newest = outcomes.at(-1)?.id ?? "";
  if (newest !== logged && $("log").closest("details")?.open) showLog();
  logged = newest;
}

async function showLog() {
  const list = $("log");
  if (!list.closest("details").open) return;
  try {
    const { entries } = await (await fetch(`/api/log?most=${SHOWN}`)).json();
    list.replaceChildren(...entries.map((e) => el("li", { "data-outcome": e.outcome },
      el("time", { datetime: new Date(e.at * 1000).toISOString() }, clock(e.at)), el("span", {}, e.words), el("span", { class: "soft small" }, e.outcome))));
  } catch { /* The next outcome reads it again. */ }
}
