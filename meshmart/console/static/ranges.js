// The range of the charts: the last 15 minutes, which the console has itself, or hours from a Prometheus.
import { el, keyed, set } from "/static/dom.js";

let hours = 0;

// The choice stays for the next panel, as long as it is offered. 0 means the last 15 minutes.
export const chosen = (offered) => (offered.includes(hours) ? hours : 0);

export function words(range) {
  if (!range) return "the last 15 minutes";
  return range === 1 ? "the last hour" : `the last ${range} hours`;
}

// Returns the buttons, and a function that updates them. Without a Prometheus there is nothing to choose.
export function ranges(onChoose) {
  const group = el("div", { class: "ranges", role: "group", "aria-label": "Range of the charts" });
  const make = (range) => el("button", { type: "button", onclick: () => { hours = range; onChoose(); } }, range ? `${range} h` : "15 min");
  const draw = (offered) => {
    group.hidden = !offered.length;
    keyed(group, offered.length ? [0, ...offered] : [], (range) => range, make,
      (button, range) => set(button, { "aria-pressed": String(range === chosen(offered)) }));
  };
  return { group, draw };
}
