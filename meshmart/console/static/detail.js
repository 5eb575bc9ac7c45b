// The panel of what is chosen: its figures now, and small charts of the last fifteen minutes.
import * as certificates from "/static/certificates.js";
import { codeTable, drawCodes } from "/static/codes.js";
import { $, el, hide, svg, text } from "/static/dom.js";
import { DASH, count, percent, plural, rate, seconds, success } from "/static/format.js";
import { open } from "/static/panel.js";
import * as range from "/static/ranges.js";
import { actionsFor } from "/static/switches.js";
import { breaker, budget, drawReplicas, outbox, replicaTable } from "/static/tables.js";

const WIDTH = 320, HEIGHT = 64;
const AGAIN = 5000, SLOWLY = 15000;
let shown = null, timer = 0, parts = null, offered = [], links = {}, reading = null, trouble = "";

// A choice is "product", "product/product-1" or "order>payment".
export function draw(frame, chosen, close) {
  const found = chosen ? find(frame, chosen) : null;
  const panel = $("detail");
  hide(panel, !found);
  offered = frame.ranges ?? [];
  links = frame.links;
  if (shown !== (found ? chosen : null)) leave();
  if (!found) return;
  if (!parts) {
    shown = chosen;
    parts = build(panel, found, close);
    follow(found.series);
  }
  parts.ranges(offered);
  text(parts.note, trouble || range.words(range.chosen(offered)));
  facts(parts.facts, found.facts(frame));
  drawCodes(parts.codes, found.of);
  parts.table?.(frame);
}

function leave() {
  clearTimeout(timer);
  reading?.abort();
  parts?.leave();
  shown = parts = null;
}

function find(frame, chosen) {
  const [from, to] = chosen.split(">");
  if (to) {
    const edge = frame.edges.find((e) => e.source === from && e.target === to);
    return edge && { title: `${from} → ${to}`, series: ["edge", from, to], of: edge, facts: () => edgeFacts(edge) };
  }
  const [name, replica] = chosen.split("/");
  const service = frame.services.find((s) => s.name === name);
  if (!service) return null;
  if (!replica) {
    return { title: name, series: [name], of: service, service: name, logs: logCommand(name, service.replicas), facts: () => serviceFacts(service, frame) };
  }
  const one = service.replicas?.find((r) => r.name === replica);
  return one && { title: replica, series: [name, replica], of: one, service: name, replica: one.id, logs: logCommand(name, service.replicas, one), facts: (now) => replicaFacts(one, service, now) };
}

// The command that follows a log. The replicas of the embedded cluster are named by their numbers, pods are not.
function logCommand(service, replicas, one) {
  const inPods = replicas?.some((r) => r.name !== `${service}-${r.id}`);
  if (inPods) return one ? `kubectl logs ${one.name} -f` : `kubectl logs -l app.kubernetes.io/name=${service} --prefix -f`;
  return `meshmart logs ${service}${one ? `/${one.id}` : ""} -f`;
}

function serviceFacts(service, frame) {
  return [
    ["Calls", rate(service.rate)], ["Success", success(service)], ["p99", seconds(service.p99)],
    ["Calls in all", `${count(service.calls)}, ${count(service.failures)} failed`],
    ["Shed", service.shed ? rate(service.shed) : "none"],
    ["Outbox", service.outbox ? outbox(service.outbox) : DASH],
    ["Certificate", certificates.words(service.certificates?.[0], frame.at)],
  ];
}

function replicaFacts(replica, service, frame) {
  return [
    ["State", replica.note || replica.state], ["Calls", rate(replica.rate)], ["Success", success(replica)],
    ["p99", seconds(replica.p99)], ["Share of the calls", percent(replica.share)],
    ["Calls in all", `${count(replica.calls)}, ${count(replica.failures)} failed`],
    ["In flight", replica.limit ? `${count(replica.in_flight)} of ${count(replica.limit)}` : DASH],
    ["Shed", replica.shed ? rate(replica.shed) : "none"], ["Restarts", count(replica.restarts)],
    ["Injected faults", count(replica.faults)], ["Certificate", certificates.words(certificates.of(service, replica), frame.at)],
    ["Address", replica.address],
    ["Read", replica.age === undefined ? "never" : `${replica.age.toFixed(1)} s ago`],
  ];
}

function edgeFacts(edge) {
  return [
    ["Calls", rate(edge.rate)], ["Success", success(edge)], ["p99", seconds(edge.p99)],
    ["Calls in all", `${count(edge.calls)}, ${count(edge.failures)} failed`],
    ["Callers", plural(edge.callers, "process")],
    ["Retries", edge.retries ? rate(edge.retries) : "none"], ["Hedges", edge.hedges ? rate(edge.hedges) : "none"],
    ["Retry budget", budget(edge)], ["Circuit breaker", breaker(edge)],
    ["Waiting for an endpoint", count(edge.waiting)],
  ];
}

function build(panel, found, close) {
  const list = el("dl", { class: "facts small-facts" });
  const charts = el("div", { class: "charts" });
  for (const [key, title] of [["rate", "Calls per second"], ["failing", "Failing per second"], ["p99", "p99"]]) charts.append(chart(key, title));
  const commands = found.logs ? el("p", { class: "soft small" }, "Its log: ", el("code", {}, found.logs)) : null;
  const table = found.series.length === 1 ? replicaTable() : null;
  const codes = codeTable();
  const more = open(found.series, () => links.traces);
  const note = el("span", { class: "soft small", role: "status" }), ranges = range.ranges(() => follow(found.series));
  const title = el("h2", { id: "detail-title", tabindex: -1 }, found.title);
  panel.replaceChildren(
    el("div", { class: "panel-head" }, title, note, ranges.group,
      el("button", { type: "button", class: "close", onclick: close, "aria-label": "Close" }, "✕")),
    list, ...(found.service ? [actionsFor(found.service, found.replica)] : []), charts, codes, ...(table ? [el("div", { class: "wide" }, table)] : []), ...(commands ? [commands] : []),
    ...more.sections,
  );
  const draws = table && ((frame) => drawReplicas(table, frame.services.find((s) => s.name === found.service), frame.at));
  return { facts: list, codes, table: draws, note, ranges: ranges.draw, leave: more.leave };
}

function facts(list, pairs) {
  if (list.children.length !== pairs.length) {
    list.replaceChildren(...pairs.map(([name]) => el("div", {}, el("dt", {}, name), el("dd"))));
  }
  pairs.forEach(([, value], i) => text(list.children[i].lastChild, String(value)));
}

function chart(key, title) {
  return el("figure", { "data-chart": key },
    el("figcaption", {}, el("span", {}, title), el("span", { class: "soft", "data-max": "" })),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title },
      svg("path", { class: "area" }), svg("path", { class: "trend", "vector-effect": "non-scaling-stroke" })));
}

// Reads the charts of the chosen range again and again, until another is chosen or the panel is left.
async function follow(series) {
  clearTimeout(timer);
  reading?.abort();
  const { signal } = reading = new AbortController();
  const hours = range.chosen(offered), query = new URLSearchParams(series.map((name) => ["name", name]));
  trouble = "";
  parts.ranges(offered);
  try {
    const answer = await fetch(hours ? `/api/range?${query}&hours=${hours}` : `/api/history?${query}`, { signal });
    const told = answer.ok ? await answer.json() : {};
    if (signal.aborted) return;
    if (told.points) drawCharts(told);
    if (told.problem) trouble = `${range.words(hours)}: ${told.problem}`;
  } catch {
    // The stream says whether the console is there; the next attempt draws again.
  }
  if (!signal.aborted) timer = setTimeout(follow, hours ? SLOWLY : AGAIN, series);
}

function drawCharts({ points }) {
  const columns = [["rate", rate], ["failing", rate], ["p99", seconds]];
  columns.forEach(([key, show], i) => {
    const figure = $("detail").querySelector(`[data-chart=${key}]`);
    const values = points.map((point) => point[i]);
    const known = values.filter((value) => value !== null);
    const most = Math.max(...known, 0);
    const words = known.length ? `at most ${show(most)}` : "no figures yet";
    text(figure.querySelector("[data-max]"), words);
    const [area, trend] = figure.querySelectorAll("path");
    figure.querySelector("svg").setAttribute("aria-label", `${figure.querySelector("figcaption span").textContent}: ${words}`);
    const line = path(values, most);
    trend.setAttribute("d", line.trend);
    area.setAttribute("d", line.area);
  });
}

// Gaps stay gaps.
function path(values, most) {
  const x = (i) => ((i / (values.length - 1)) * WIDTH).toFixed(1);
  const y = (value) => (HEIGHT - 2 - (most ? value / most : 0) * (HEIGHT - 8)).toFixed(1);
  let trend = "", area = "", run = [];
  const end = () => {
    if (run.length) {
      const line = run.map(([i, value]) => `${x(i)} ${y(value)}`).join("L");
      trend += `M${line}`;
      area += `M${x(run[0][0])} ${HEIGHT}L${line}L${x(run[run.length - 1][0])} ${HEIGHT}Z`;
    }
    run = [];
  };
  values.forEach((value, i) => (value === null ? end() : run.push([i, value])));
  end();
  return { trend, area };
}
