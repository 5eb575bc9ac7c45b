// The codes that calls ended with, as a table: those over the last seconds, and all since the start.
import { DASH, count, rate } from "/static/format.js";
import { el, keyed, set, text } from "/static/dom.js";

const HEADS = ["code", "calls/s", "share", "calls in all"];

// Returns the rows of a service, a replica or an edge, OK first. A frame has OK only as what is missing of the calls.
export function rows(of) {
  const others = of.codes ?? [];
  const sum = (column) => others.reduce((all, code) => all + (code[column] || 0), 0);
  const calls = (of.calls || 0) - sum(2);
  return [...(calls > 0 ? [["OK", Math.max(0, (of.rate || 0) - sum(1)), calls]] : []), ...others];
}

// Never rounded to 0 %: a single failure must show.
export function share(part, whole) {
  if (!whole) return DASH;
  const percent = (100 * part) / whole;
  if (percent > 0 && percent < 0.1) return "<0.1 %";
  return percent > 99.9 && part < whole ? ">99.9 %" : `${percent.toFixed(1)} %`;
}

export function codeTable() {
  const head = el("tr", {}, ...HEADS.map((name) => el("th", { scope: "col" }, name)));
  const table = el("table", { class: "table" }, el("caption", {}, "Status codes"), el("thead", {}, head), el("tbody"));
  return el("div", { class: "wide codes", tabindex: 0, role: "region", "aria-label": "Status codes" }, table);
}

export function drawCodes(region, of) {
  region.hidden = !of.calls;
  keyed(region.firstChild.tBodies[0], rows(of), ([name]) => name, () => el("tr", {}, el("th", { scope: "row" }), el("td"), el("td"), el("td")), (tr, [name, speed, calls]) => {
    set(tr, { "data-code": name });
    [name, rate(speed), share(speed || 0, of.rate), count(calls)].forEach((value, i) => text(tr.children[i], value));
  });
}
