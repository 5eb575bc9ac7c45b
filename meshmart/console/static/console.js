// The console: follows the stream of frames and draws each.
import * as certificates from "/static/certificates.js";
import { $, el, hide, keyed, svg, text } from "/static/dom.js";
import * as detail from "/static/detail.js";
import { clock, rate, seconds, span, success } from "/static/format.js";
import * as lessons from "/static/lessons.js";
import * as map from "/static/map.js";
import { SHAPES, STATES, tally } from "/static/states.js";
import * as switches from "/static/switches.js";
import * as tables from "/static/tables.js";

// A frame is due every 0.7 s; after so long without one the page is stale.
const STALE = 4000;
const LINKS = { storefront: "Shop", traces: "Traces", prometheus: "Metrics" };
// What had the focus when the panel was opened: closing gives it back.
let frame = null, late = 0, opener = null;

// An address that is badly encoded chooses nothing.
function chosen() {
  try { return decodeURIComponent(location.hash.slice(1)) || null; } catch { return null; }
}

function choose(what) {
  const same = what === chosen();
  if (!same && !$("detail").contains(document.activeElement)) opener = document.activeElement;
  history.replaceState(null, "", same ? " " : `#${encodeURIComponent(what)}`);
  draw();
  if (!same) $("detail-title")?.focus({ preventScroll: true });
}

function close() {
  history.replaceState(null, "", " ");
  draw();
  if (opener?.isConnected) opener.focus({ preventScroll: true });
}

function draw() {
  if (!frame) return;
  const empty = !frame.services.length;
  hide($("waiting"), !empty);
  hide($("map-scroll"), empty);
  text($("waiting"), frame.problem ? "Nothing is known of the mesh yet. The console keeps asking." : "The mesh has no services yet.");
  hide($("problem"), !frame.problem);
  text($("problem"), frame.problem ? `The status of the cluster cannot be read: ${frame.problem}` : "");
  facts();
  map.draw(frame, chosen());
  tables.draw(frame);
  detail.draw(frame, chosen(), close);
  switches.draw(frame);
  lessons.draw(frame);
  feed();
  links();
  const open = frame.selected, sooner = open?.replicas && open.interval < frame.interval ? `, those of an open panel every ${open.interval} s` : "";
  text($("foot"), `Read from the processes’ own admin ports, each every ${frame.interval} s${sooner}, however many viewers there are.`);
}

function facts() {
  const replicas = frame.services.flatMap((s) => s.replicas ?? []);
  const ready = tally(replicas).get("ready") ?? 0;
  const all = frame.edges.reduce((sum, e) => ({ rate: sum.rate + (e.rate || 0), failing_rate: sum.failing_rate + (e.failing_rate || 0) }), { rate: 0, failing_rate: 0 });
  const slowest = frame.edges.reduce((most, e) => ((e.p99 ?? 0) > (most?.p99 ?? 0) ? e : most), null);
  const next = certificates.next(frame.services), left = next.not_after - frame.at;
  const pairs = [
    ["Replicas ready", `${ready} of ${replicas.length}`, ready < replicas.length ? "warn" : ready ? "good" : ""],
    ["Calls between services", rate(all.rate), ""],
    ["Succeed", success(all), all.failing_rate > 0.01 * all.rate ? "bad" : ""],
    ["Slowest p99", slowest ? seconds(slowest.p99) : "–", "", slowest ? `${slowest.source} → ${slowest.target}` : ""],
    ["Next certificate ends in", Number.isFinite(left) ? span(left) : "–", left < 300 ? "bad" : "", Number.isFinite(next.renewal) ? `next renewal ${certificates.renewal(next, frame.at)}` : ""],
  ];
  keyed($("facts"), pairs, ([name]) => name, () => el("div", {}, el("dt"), el("dd"), el("dd", { class: "soft small" })), (box, [name, value, kind, note]) => {
    const [title, figure, about] = box.children;
    text(title, name);
    text(figure, value);
    text(about, note ?? "");
    hide(about, !note);
    box.dataset.kind = kind;
  });
}

function feed() {
  hide($("feed-empty"), frame.feed.length > 0);
  keyed($("feed"), [...frame.feed].reverse(), (e) => e.n, (e) =>
    el("li", { "data-kind": e.kind }, el("time", { datetime: new Date(e.at * 1000).toISOString() }, clock(e.at)), el("span", {}, e.text)), () => {});
}

function links() {
  const wanted = Object.entries(LINKS).filter(([name]) => frame.links[name]);
  keyed($("links"), wanted, ([name]) => name, ([name, title]) => el("a", { href: frame.links[name], rel: "noreferrer" }, title), () => {});
}

function legend() {
  for (const state of STATES) {
    $("legend").append(el("li", { "data-state": state }, svg("svg", { viewBox: "-7 -7 14 14", width: 13, height: 13, "aria-hidden": "true" }, svg("path", { class: "mark", d: SHAPES[state] })), state));
  }
}

function say(state, words) {
  $("live").dataset.state = state;
  document.body.classList.toggle("stale", state !== "on");
  text($("live-text"), words);
}

function follow() {
  const source = new EventSource("/events");
  source.addEventListener("message", (event) => {
    frame = JSON.parse(event.data);
    say("on", "Live");
    clearTimeout(late);
    late = setTimeout(() => say("waiting", `No update since ${clock(frame.at)}`), STALE);
    if (!document.hidden) requestAnimationFrame(() => { draw(); dispatchEvent(new Event("console-update")); });
  });
  source.addEventListener("error", () => {
    say("waiting", "Reconnecting…");
    if (source.readyState === EventSource.CLOSED) setTimeout(again, 2000);
  });
}

// Where only admins may look, 401 means that the session has ended: loading the page again shows the log-in.
async function again() {
  const answer = await fetch("/events", { method: "HEAD" }).catch(() => null);
  if (answer?.status === 401) location.reload();
  else follow();
}

window.addEventListener("hashchange", draw);
document.addEventListener("visibilitychange", draw);
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && chosen()) close(); });
map.prepare(choose);
tables.prepare(choose);
switches.prepare();
lessons.prepare();
legend();
follow();
