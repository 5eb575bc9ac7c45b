// The map: services as boxes, replicas as marks with a bar for their share, calls as curves.
import { $, keyed, set, svg, text } from "/static/dom.js";
import { count, percent, plural, rate, seconds, success } from "/static/format.js";
import { COLUMN, HEAD, PER_ROW, ROW, WIDTH, curve, edgeName, layout, spread } from "/static/layout.js";
import { SHAPES, summary } from "/static/states.js";

const BAR = 14;
const MARGIN = 14;
// With more edges than this only the chosen ones carry their figures and move.
const CALM = 36;
// With more replicas than this a box has marks only for those that are not ready, in one row, and counts the others.
const MANY = 600, FEW = 6;
// At a smaller scale than this, texts are larger and curves carry no figures. The least scale that fits by itself.
const FAR = 0.62, LEAST = 0.45;
// The air at the left and the right of a text in its box.
const AIR = 13;

const root = $("map"), scroller = $("map-scroll");
let shape = "", placed = null, scale = 0, brief = false, far = false, choose = () => {};

const curves = svg("g"), labels = svg("g", { class: "labels" }), nodes = svg("g");
root.append(curves, nodes, labels);

export function prepare(onChoose) {
  choose = onChoose;
  $("zoom-in").addEventListener("click", () => zoom(1.25));
  $("zoom-out").addEventListener("click", () => zoom(0.8));
  $("zoom-fit").addEventListener("click", () => { scale = 0; resize(); });
  new ResizeObserver(resize).observe(scroller);
}

export function draw(frame, chosen) {
  const services = frame.services.filter((s) => s.replicas || s.calls);
  brief = services.reduce((sum, s) => sum + (s.replicas?.length ?? 0), 0) > MANY;
  const known = new Set(services.map((s) => s.name));
  const edges = frame.edges.filter((e) => known.has(e.source) && known.has(e.target));
  place(services, edges);
  const busiest = Math.max(1, ...edges.map((e) => e.rate || 0));
  const near = neighbours(edges, chosen);
  root.classList.toggle("calm", edges.length > CALM);
  root.classList.toggle("choosing", Boolean(chosen && near.size));
  keyed(curves, edges, edgeName, makeCurve, (g, e) => updateCurve(g, e, busiest, near));
  drawLabels(edges.filter((e) => labelled(e, edges, near)));
  const sent = outgoing(edges);
  keyed(nodes, services, (s) => s.name, makeNode, (g, s) => updateNode(g, s, chosen, near, sent.get(s.name)));
  name();
}

// Only an element that is in the page has a length.
function name() {
  for (const group of nodes.children) nameOf(group);
}

function place(services, edges) {
  const sizes = services.map((s) => ({ name: s.name, replicas: brief ? 1 : (s.replicas?.length ?? 0) }));
  // A call that is possible, but was never made, decides nothing.
  const made = edges.filter((e) => e.calls > 0);
  const now = JSON.stringify([sizes.map((s) => [s.name, Math.ceil(s.replicas / PER_ROW)]), edges.map(edgeName), made.map(edgeName)]);
  if (now === shape) return;
  shape = now;
  placed = layout(sizes, edges, made.length ? made : edges);
  resize();
}

// What each service sends, for those that only call.
function outgoing(edges) {
  const sent = new Map();
  for (const e of edges) {
    const sum = sent.get(e.source) ?? { rate: 0, failing_rate: 0 };
    sent.set(e.source, { rate: sum.rate + (e.rate || 0), failing_rate: sum.failing_rate + (e.failing_rate || 0) });
  }
  return sent;
}

function resize() {
  if (!placed) return;
  const width = placed.width + 2 * MARGIN, height = placed.height + 2 * MARGIN;
  set(root, { viewBox: `${-MARGIN} ${-MARGIN} ${width} ${height}` });
  const fit = Math.min(1.15, Math.max(LEAST, scroller.clientWidth / width));
  const size = scale || fit;
  far = size < FAR;
  root.classList.toggle("far", far);
  name();
  set(root, { width: Math.round(width * size), height: Math.round(height * size) });
}

function zoom(factor) {
  if (!placed) return;
  const now = root.width.baseVal.value / (placed.width + 2 * MARGIN);
  scale = Math.min(2.5, Math.max(0.2, now * factor));
  resize();
}

// What belongs to the choice: the edges of a service, or one edge.
function neighbours(edges, chosen) {
  if (!chosen) return new Set();
  const [service] = chosen.split("/");
  return new Set(edges.filter((e) => edgeName(e) === chosen || e.source === service || e.target === service)
    .map(edgeName));
}

function labelled(edge, edges, near) {
  return near.size ? near.has(edgeName(edge)) : edge.failing || (edges.length <= CALM && edge.rate > 0);
}

// Edges

function makeCurve(edge) {
  const name = edgeName(edge);
  const group = svg("g", { class: "edge", "data-edge": name, onclick: () => choose(name) });
  group.append(svg("path", { class: "reach" }), svg("path", { class: "line" }), svg("path", { class: "flow" }), svg("title"));
  return group;
}

function updateCurve(group, edge, busiest, near) {
  const d = curve(placed.routes.get(edgeName(edge))), busy = edge.rate > 0;
  const width = busy ? 1.4 + 5 * Math.sqrt(edge.rate / busiest) : 1;
  const [reach, line, flow, title] = group.children;
  for (const path of [reach, line, flow]) set(path, { d });
  set(line, { "stroke-width": width.toFixed(1) });
  set(flow, { "stroke-width": Math.max(1.4, width * 0.45).toFixed(1) });
  group.classList.toggle("busy", busy);
  group.classList.toggle("failing", Boolean(edge.failing));
  group.classList.toggle("near", near.has(edgeName(edge)));
  flow.style.animationDuration = `${(2.4 / (0.6 + Math.sqrt((edge.rate || 0) / busiest))).toFixed(1)}s`;
  text(title, `${edge.source} → ${edge.target}: ${edgeText(edge)}`);
}

export function edgeText(edge) {
  return `${rate(edge.rate)}, ${success(edge)} succeed, p99 ${seconds(edge.p99)}`;
}

function drawLabels(edges) {
  const wanted = [...edges].sort((a, b) => (b.failing || false) - (a.failing || false) || (b.rate || 0) - (a.rate || 0))
    .map((edge) => { const words = labelText(edge); return { edge, words, name: edgeName(edge), width: words.length * 5.5 + 12 }; });
  const at = spread(wanted, placed);
  keyed(labels, wanted.filter((l) => at.has(l.name)), (l) => l.name, makeLabel, (g, l) => updateLabel(g, l, at.get(l.name)));
}

function labelText(edge) {
  const good = !edge.failing && success(edge) === "100 %";
  return [rate(edge.rate), good ? null : success(edge), edge.p99 === undefined ? null : seconds(edge.p99)].filter(Boolean).join(" · ");
}

function makeLabel({ name }) {
  return svg("g", { class: "label", onclick: () => choose(name) }, svg("rect", { rx: 7, height: 16, y: -8 }), svg("text", { y: 4 }));
}

function updateLabel(group, { edge, words, width }, [x, y]) {
  const [box, text_] = group.children;
  text(text_, words);
  set(box, { width, x: -width / 2 });
  set(group, { transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` });
  group.classList.toggle("failing", Boolean(edge.failing));
}

// Services

function makeNode(service) {
  const group = svg("g", {
    class: "node", tabindex: 0, role: "button", "data-service": service.name,
    onclick: () => choose(service.name),
    onfocus: () => reveal(group),
    onkeydown: (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose(service.name);
    },
  });
  group.append(
    svg("rect", { class: "box", width: WIDTH, rx: 13 }),
    svg("text", { class: "name", x: AIR, y: 22 }),
    svg("text", { class: "badge", x: WIDTH - AIR, y: 22 }),
    svg("text", { class: "figures", x: AIR, y: 38 }),
    svg("g", { class: "replicas", transform: `translate(${AIR} ${HEAD})` }),
    svg("text", { class: "figures", y: HEAD + ROW - 6 }),
  );
  return group;
}

// Scrolls the map so far that a box can be seen. Browsers do that badly for parts of an SVG.
function reveal(group) {
  const box = group.getBoundingClientRect(), seen = scroller.getBoundingClientRect();
  const off = (from, to, least, most) => (from < least ? from - least - AIR : to > most ? to - most + AIR : 0);
  scroller.scrollBy(off(box.left, box.right, seen.left, seen.right), off(box.top, box.bottom, seen.top, seen.bottom));
}

function updateNode(group, service, chosen, near, sent) {
  const { x, y, height } = placed.places.get(service.name);
  const [box, , badge, figures, replicas, others] = group.children;
  const all = service.replicas ?? [];
  set(group, { "aria-label": nodeText(service), "aria-pressed": String(chosen === service.name) });
  group.style.transform = `translate(${x}px, ${y}px)`;
  set(box, { height });
  text(badge, badgeOf(service));
  text(figures, figuresOf(service, sent));
  group.classList.toggle("bad", all.some((r) => r.state === "broken") || service.failing_rate > 0.01 * service.rate);
  group.classList.toggle("warn", all.some((r) => r.state === "ejected") || service.shed > 0);
  group.classList.toggle("chosen", (chosen ?? "").split("/")[0] === service.name);
  group.classList.toggle("near", [...near].some((e) => e.split(">").includes(service.name)));
  const most = Math.max(0.0001, ...all.map((r) => r.share ?? 0));
  const marked = brief ? all.filter((r) => r.state !== "ready").slice(0, FEW) : all;
  keyed(replicas, marked, (r) => r.name, (r) => makeReplica(r, service), (g, r) => updateReplica(g, r, marked.indexOf(r), most));
  set(others, { x: AIR + marked.length * COLUMN + (marked.length ? 5 : 0) });
  text(others, brief ? othersOf(all, marked) : "");
}

// A name that is too long for its box is shortened in the middle; the label for screen readers has all of it.
function nameOf(group) {
  if (group.namedFar === far) return;
  group.namedFar = far;
  const label = group.children[1], name = group.dataset.service, room = WIDTH - 2 * AIR;
  text(label, name);
  for (let most = name.length, long; most > 3 && (long = label.getComputedTextLength()) > room;) {
    most = Math.min(most - 1, Math.floor((most * room) / long));
    text(label, `${name.slice(0, Math.ceil((most - 1) / 2))}…${name.slice(-Math.floor((most - 1) / 2))}`);
  }
}

function othersOf(all, marked) {
  const ready = all.filter((r) => r.state === "ready").length, more = all.length - ready - marked.length;
  return [more && `+${count(more)}`, `${count(ready)} ready`].filter(Boolean).join(", ");
}

function figuresOf(service, sent) {
  if (service.rate) return `${rate(service.rate)} · ${success(service)} · ${seconds(service.p99)}`;
  return sent?.rate ? `sends ${rate(sent.rate)} · ${success(sent)}` : "no calls";
}

function badgeOf(service) {
  if (service.shed) return `sheds ${rate(service.shed)}`;
  if (service.outbox?.pending > 99) return `outbox ${count(service.outbox.pending)}`;
  return "";
}

export function nodeText(service) {
  const calls = service.rate ? `${rate(service.rate)}, ${success(service)} succeed, p99 ${seconds(service.p99)}` : "no calls";
  return `${service.name}: ${summary(service.replicas ?? [])}; ${calls}`;
}

function makeReplica(replica, service) {
  const group = svg("g", {
    class: "replica", "data-replica": replica.name,
    onclick: (event) => { event.stopPropagation(); choose(`${service.name}/${replica.name}`); },
  });
  group.append(
    svg("rect", { class: "reach", x: -COLUMN / 2, width: COLUMN, y: -BAR - 8, height: ROW }),
    svg("rect", { class: "share", x: -3, width: 6, rx: 1.5 }),
    svg("path", { class: "mark" }), svg("title"),
  );
  return group;
}

function updateReplica(group, replica, index, most) {
  const [, share, mark, title] = group.children;
  const x = COLUMN / 2 + (index % PER_ROW) * COLUMN, y = ROW - 10 + Math.floor(index / PER_ROW) * ROW;
  set(group, { transform: `translate(${x} ${y})`, "data-state": replica.state });
  const height = replica.share ? Math.max(1.5, (BAR * replica.share) / most) : 0;
  set(share, { height: height.toFixed(1), y: (-height - 7).toFixed(1) });
  set(mark, { d: SHAPES[replica.state] ?? SHAPES.broken });
  text(title, replicaText(replica));
}

export function replicaText(replica) {
  const parts = [`${replica.name}: ${replica.note || replica.state}`];
  if (replica.share !== undefined) parts.push(`${percent(replica.share)} of the calls`);
  if (replica.restarts) parts.push(plural(replica.restarts, "restart"));
  return parts.join(", ");
}
