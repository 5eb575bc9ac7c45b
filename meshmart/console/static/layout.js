// Places the services in columns by the call graph: callers to the left of those whom they call. Pure.
// Sugiyama's method: no circles, columns, fewer crossings; a call that passes a column has a lane of its own there.

export const WIDTH = 176, COLUMN = 13, PER_ROW = 11, ROW = 30, HEAD = 50, GAP_X = 138, GAP_Y = 26;
const LANE = 6;
// How far a curve inside one column bends, and how far it and its label then reach.
const BEND = 60, BULGE = 0.75 * BEND + 50;
// Width by height of a large map; and more columns than DEEP are joined.
const WIDE = 1.8, DEEP = 10;

export const edgeName = (e) => `${e.source}>${e.target}`;

export function height(replicas) {
  return HEAD + ROW * Math.max(1, Math.ceil(replicas / PER_ROW)) + 8;
}

// services: [{name, replicas: number}], edges: [{source, target}]; ranking: those edges that decide the columns.
// Returns {places, routes, width, height}: a box by service, and the points of a curve by edge.
export function layout(services, edges, ranking = edges) {
  const sizes = new Map(services.map((s) => [s.name, height(s.replicas)]));
  const names = [...sizes.keys()], tall = tallest([...sizes.values()]);
  const columns = split(join(layers(names, acyclic(names, ranking)), sizes, tall), sizes, tall);
  const column = new Map(columns.flatMap((members, i) => members.map((name) => [name, i])));
  const links = lanes(columns, column, edges, sizes);
  const ordered = order(columns, links.pairs);
  const most = Math.max(1, ...ordered.map((members) => tallness(members, sizes)));
  const places = new Map();
  ordered.forEach((members, i) => {
    let y = (most - tallness(members, sizes)) / 2;
    for (const name of members) {
      places.set(name, { x: i * (WIDTH + GAP_X), y, width: WIDTH, height: sizes.get(name) });
      y += sizes.get(name) + gap(name, sizes);
    }
  });
  const found = routes(links.chains, places), right = Math.max(ordered.length * (WIDTH + GAP_X) - GAP_X, WIDTH);
  const bulge = [...found.values()].some(([[x1, , x2]]) => x1 === right && x2 === right) ? BULGE : 0;
  return { places, routes: found, width: right + bulge, height: most };
}

const gap = (name, sizes) => (sizes.get(name) === LANE ? 12 : GAP_Y);

function tallness(members, sizes) {
  return members.reduce((sum, name) => sum + sizes.get(name) + gap(name, sizes), -GAP_Y);
}

// The edges without those that close a circle.
function acyclic(names, edges) {
  const targets = new Map(names.map((name) => [name, []]));
  const called = new Set();
  for (const { source, target } of edges) {
    if (source === target || !targets.has(source) || !targets.has(target)) continue;
    targets.get(source).push(target);
    called.add(target);
  }
  const state = new Map(), kept = [];
  for (const root of [...names.filter((name) => !called.has(name)), ...names]) {
    if (state.has(root)) continue;
    const path = [[root, 0]];
    state.set(root, "open");
    while (path.length) {
      const top = path[path.length - 1], next = targets.get(top[0])[top[1]++];
      if (next === undefined) state.set(path.pop()[0], "closed");
      else if (state.get(next) !== "open") {
        kept.push({ source: top[0], target: next });
        if (!state.has(next)) { state.set(next, "open"); path.push([next, 0]); }
      }
    }
  }
  return kept;
}

// Each service one column to the right of its last caller.
function layers(names, edges) {
  const depth = new Map(names.map((name) => [name, 0]));
  for (let round = 0, moved = true; moved && round < names.length; round++) {
    moved = false;
    for (const { source, target } of edges) {
      if (depth.get(target) <= depth.get(source)) { depth.set(target, depth.get(source) + 1); moved = true; }
    }
  }
  const columns = [];
  for (const name of names) (columns[depth.get(name)] ??= []).push(name);
  return columns.filter(Boolean);
}

// How tall a column may be, so that the whole map is about as wide as a screen for its height.
function tallest(heights) {
  const all = heights.reduce((sum, h) => sum + h + GAP_Y, 0);
  return Math.max(900, Math.sqrt((all * (WIDTH + GAP_X)) / WIDE));
}

// A call graph so deep that its columns would be narrow strips of a screen: neighbouring ones share a column.
function join(columns, sizes, tall) {
  if (columns.length <= DEEP) return columns;
  const joined = [];
  for (const members of columns) {
    const last = joined[joined.length - 1];
    if (last && tallness([...last, ...members], sizes) <= tall) last.push(...members);
    else joined.push([...members]);
  }
  return joined;
}

// A column that is too tall becomes several.
function split(columns, sizes, tall) {
  return columns.flatMap((members) => {
    const parts = Math.max(1, Math.ceil(tallness(members, sizes) / tall));
    const size = Math.ceil(members.length / parts);
    return Array.from({ length: parts }, (_, i) => members.slice(i * size, (i + 1) * size));
  }).filter((members) => members.length);
}

// Puts a lane into every column that an edge passes; edges to the same service share it.
function lanes(columns, column, edges, sizes) {
  const chains = new Map(), pairs = [];
  for (const edge of edges) {
    const from = column.get(edge.source), to = column.get(edge.target);
    if (from === undefined || to === undefined) continue;
    const chain = [edge.source];
    for (let i = from + 1; i < to; i++) {
      const lane = `${edge.target}@${i}`;
      if (!sizes.has(lane)) { sizes.set(lane, LANE); columns[i].push(lane); }
      chain.push(lane);
    }
    chain.push(edge.target);
    chains.set(edgeName(edge), chain);
    if (from < to) for (let i = 1; i < chain.length; i++) pairs.push([chain[i - 1], chain[i]]);
  }
  return { chains, pairs };
}

// Fewer crossings: each column sorted by the mean position of its neighbours, forth and back.
function order(columns, pairs) {
  const left = new Map(), right = new Map();
  for (const [a, b] of pairs) {
    (right.get(a) ?? right.set(a, []).get(a)).push(b);
    (left.get(b) ?? left.set(b, []).get(b)).push(a);
  }
  const position = new Map();
  const number = (members) => members.forEach((name, i) => position.set(name, (i + 0.5) / members.length));
  let sorted = columns.map((members) => [...members]);
  sorted.forEach(number);
  for (let sweep = 0; sweep < 10; sweep++) {
    const near = sweep % 2 ? right : left;
    const mean = (name) => {
      const others = near.get(name) ?? [];
      return others.length ? others.reduce((sum, n) => sum + position.get(n), 0) / others.length : position.get(name);
    };
    const turn = sweep % 2 ? [...sorted].reverse() : sorted;
    for (const members of turn) {
      const means = new Map(members.map((name) => [name, mean(name)]));
      members.sort((a, b) => means.get(a) - means.get(b));
      number(members);
    }
  }
  return sorted;
}

// The ends of an edge are spread over the side of its box, in the order of what they lead to.
function routes(chains, places) {
  const ports = { out: new Map(), in: new Map() };
  const port = (side, name, other) => (ports[side].get(name) ?? ports[side].set(name, new Set()).get(name)).add(other);
  for (const chain of chains.values()) {
    if (backward(chain, places)) continue;
    for (let i = 1; i < chain.length; i++) { port("out", chain[i - 1], chain[i]); port("in", chain[i], chain[i - 1]); }
  }
  const at = { out: new Map(), in: new Map() };
  for (const side of ["out", "in"]) {
    for (const [name, others] of ports[side]) {
      const box = places.get(name);
      const sorted = [...others].sort((a, b) => middle(places.get(a)) - middle(places.get(b)));
      sorted.forEach((other, i) => at[side].set(`${name} ${other}`, box.y + (box.height * (i + 1)) / (sorted.length + 1)));
    }
  }
  return new Map([...chains].map(([name, chain]) => [name, route(chain, places, at)]));
}

const middle = (box) => box.y + box.height / 2;
const backward = (chain, places) => places.get(chain[chain.length - 1]).x <= places.get(chain[0]).x;

// The gaps that an edge crosses: [x1, y1, x2, y2] each.
function route(chain, places, at) {
  if (backward(chain, places)) {
    const a = places.get(chain[0]), b = places.get(chain[chain.length - 1]);
    // A service that calls itself.
    if (a === b) return [[a.x + a.width, a.y + 0.25 * a.height, a.x + a.width, a.y + 0.75 * a.height]];
    return a.x === b.x ? [[a.x + a.width, middle(a), b.x + b.width, middle(b)]] : [[a.x, middle(a), b.x + b.width, middle(b)]];
  }
  return chain.slice(1).map((next, i) => {
    const a = places.get(chain[i]), b = places.get(next);
    return [a.x + a.width, at.out.get(`${chain[i]} ${next}`), b.x, at.in.get(`${next} ${chain[i]}`)];
  });
}

// The path of a curve through its gaps.
export function curve(gaps) {
  let d = `M${gaps[0][0]} ${round(gaps[0][1])}`;
  gaps.forEach(([x1, y1, x2, y2], i) => {
    if (i) d += `L${x1} ${round(y1)}`;
    const [a, b] = bends(x1, x2);
    d += `C${a} ${round(y1)} ${b} ${round(y2)} ${x2} ${round(y2)}`;
  });
  return d;
}

function bends(x1, x2) {
  if (x1 === x2) return [x1 + BEND, x2 + BEND];
  const bend = (x2 - x1) / 2;
  return [round(x1 + bend), round(x2 - bend)];
}

// The point of a gap's curve at t, from 0 to 1.
export function along([x1, y1, x2, y2], t) {
  const [a, b] = bends(x1, x2), u = 1 - t;
  const mix = (p, q, r, s) => u ** 3 * p + 3 * u * u * t * q + 3 * u * t * t * r + t ** 3 * s;
  return [mix(x1, a, b, x2), mix(y1, y1, y2, y2)];
}

const round = (value) => Math.round(value * 10) / 10;

// Finds a place for each label on the first gap of its edge where it covers neither a box nor another label.
// labels: [{name, width}]. Returns [x, y] by name; a label without room is left out.
export function spread(labels, { places, routes: all }, half = 9) {
  const taken = [...places].filter(([name]) => !name.includes("@")).map(([, b]) => [b.x, b.y, b.x + b.width, b.y + b.height]);
  const found = new Map();
  for (const { name, width } of labels) {
    const gaps = all.get(name);
    for (const t of [0.5, 0.4, 0.6, 0.3, 0.7, 0.22, 0.78]) {
      const [x, y] = along(gaps[0], t);
      const box = [x - width / 2, y - half, x + width / 2, y + half];
      if (taken.some((o) => box[0] < o[2] && box[2] > o[0] && box[1] < o[3] && box[3] > o[1])) continue;
      taken.push(box);
      found.set(name, [x, y]);
      break;
    }
  }
  return found;
}
