// The same as tables: everything that the map shows, and more figures.
import * as certificates from "/static/certificates.js";
import { $, el, keyed, set, text } from "/static/dom.js";
import { DASH, count, percent, rate, seconds, span, success } from "/static/format.js";
import { edgeName } from "/static/layout.js";
import { summary } from "/static/states.js";

const SERVICES = ["service", "replicas", "calls/s", "success", "p99", "calls", "shed", "outbox", "certificate age", "next renewal", "certificate ends in"];
const CALLS = ["from", "to", "calls/s", "success", "p99", "calls", "failures", "retries", "hedges", "retry budget", "breaker"];
let choose = () => {};

export function prepare(onChoose) {
  choose = onChoose;
  $("services").append(head(SERVICES), el("tbody"));
  $("calls").append(head(CALLS), el("tbody"));
}

export function draw(frame) {
  keyed($("services").tBodies[0], frame.services, (s) => s.name, () => row(SERVICES.length, 1), (tr, s) => {
    set(tr, { "data-service": s.name, class: s.failing_rate > 0.01 * s.rate ? "failing" : null });
    cells(tr, [s.name, summary(s.replicas ?? []), rate(s.rate), success(s), seconds(s.p99), count(s.calls),
      s.shed ? rate(s.shed) : DASH, s.outbox ? outbox(s.outbox) : DASH,
      ...certificate(s.certificates?.[0], frame.at)], [s.name]);
  });
  keyed($("calls").tBodies[0], frame.edges, edgeName, () => row(CALLS.length, 1), (tr, e) => {
    set(tr, { "data-edge": edgeName(e), class: e.failing ? "failing" : e.calls ? null : "idle" });
    cells(tr, [`${e.source}`, e.target, rate(e.rate), success(e), seconds(e.p99), count(e.calls), count(e.failures),
      e.retries ? rate(e.retries) : DASH, e.hedges ? rate(e.hedges) : DASH, budget(e), breaker(e)], [edgeName(e)]);
  });
}

function certificate(one, at) {
  return [certificates.age, certificates.renewal, certificates.end].map((figure) => figure(one, at));
}

export function outbox(box) {
  const dead = box.dead ? `, ${count(box.dead)} given up` : "";
  return box.pending ? `${count(box.pending)} wait, ${span(box.oldest)}${dead}` : `empty${dead}`;
}

export function budget(edge) {
  const used = `${count(edge.budget_spent)} of ${count(edge.budget_allowed)}`;
  return edge.budget_exhausted ? `used up (${used})` : used;
}

export function breaker(edge) {
  if (edge.breaker_refused) return `open: refuses ${rate(edge.breaker_refused)}`;
  return `${count(edge.breaker_in_flight)} of ${count(edge.breaker_limit)}`;
}

export function head(names) {
  return el("thead", {}, el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name))));
}

// A row whose first cell is its heading and holds a button.
export function row(length, heads = 0) {
  const tr = el("tr");
  for (let i = 0; i < length; i++) tr.append(i < heads ? el("th", { scope: "row" }) : el("td"));
  if (heads) tr.firstChild.append(el("button", { type: "button", class: "plain", onclick: () => choose(tr.choice) }));
  return tr;
}

export function cells(tr, values, [choice] = []) {
  tr.choice = choice;
  values.forEach((value, i) => text(tr.children[i].querySelector("button") ?? tr.children[i], String(value)));
}

const REPLICAS = ["replica", "state", "share", "calls/s", "success", "p99", "in flight", "restarts", "certificate", "certificate age", "next renewal", "certificate ends in", "address"];

export function replicaTable() {
  return el("table", { class: "table" }, head(REPLICAS), el("tbody"));
}

export function drawReplicas(table, service, at) {
  keyed(table.tBodies[0], service.replicas ?? [], (r) => r.name, () => row(REPLICAS.length, 1), (tr, r) => {
    set(tr, { "data-replica": r.name, "data-state": r.state });
    const flight = r.limit ? `${count(r.in_flight)} of ${count(r.limit)}` : DASH;
    cells(tr, [r.name, r.note ? `${r.state}: ${r.note}` : r.state, percent(r.share), rate(r.rate), success(r), seconds(r.p99),
      flight, count(r.restarts), r.serial ? `${r.serial}…` : DASH,
      ...certificate(certificates.of(service, r), at), r.address], [`${service.name}/${r.name}`]);
  });
}
