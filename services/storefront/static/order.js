// Follows an order by server-sent events and redraws what changed.
"use strict";

const root = document.querySelector("[data-order]");
const live = document.querySelector("#live");
const log = document.querySelector("#log");
const steps = [...document.querySelectorAll(".steps li")];
let cursor = root.dataset.cursor;
let pause = 1000;
// Attempts that never opened, one after another. A closed EventSource does not tell why: an outage passes, a
// session that has ended (204) does not.
const MAX_FAILURES = 12;
const STALE = "Not live any more: reload the page";
let failures = 0;

function say(state, text) {
  live.dataset.state = state;
  live.querySelector("span:last-child").textContent = text;
}

function draw(update) {
  const badge = document.querySelector("#status");
  badge.dataset.status = update.status;
  badge.textContent = update.label;
  const reached = steps.findIndex((step) => step.dataset.step === update.status);
  root.classList.toggle("stopped", reached < 0);
  steps.forEach((step, i) => {
    if (reached >= 0) step.classList.toggle("done", i <= reached);
    step.toggleAttribute("aria-current", i === reached);
  });
  for (const form of document.querySelectorAll("[data-from]")) {
    form.hidden = form.dataset.from !== update.status;
  }
}

// "Shipped: shipped" would say it twice.
function told(update) {
  const same = update.message.toLowerCase() === update.label.toLowerCase();
  return same || !update.message ? update.label : `${update.label}: ${update.message}`;
}

function note(update) {
  const item = document.createElement("li");
  item.className = "fresh";
  for (const [name, text] of [["time", new Date(update.at).toLocaleTimeString()],
                              ["span", told(update)],
                              ["span", update.via ? `via ${update.via}` : ""]]) {
    const part = document.createElement(name);
    part.textContent = text;
    item.append(part);
  }
  item.lastChild.className = "hop";
  log.prepend(item);
}

function follow() {
  const source = new EventSource(`${root.dataset.order}/events?after=${cursor}`);
  source.addEventListener("open", () => { pause = 1000; failures = 0; say("on", "Live: changes appear here by themselves"); });
  source.addEventListener("update", (event) => {
    const update = JSON.parse(event.data);
    cursor = event.lastEventId;
    draw(update);
    note(update);
    if (update.via) say("on", `Live, from ${update.via}`);
  });
  source.addEventListener("end", () => {
    source.close();
    say("off", "Nothing more will happen to this order");
  });
  source.addEventListener("gone", () => {
    source.close();
    say("off", STALE);
  });
  source.addEventListener("error", () => {
    say("waiting", "Reconnecting…");
    if (source.readyState !== EventSource.CLOSED) return; // The browser reconnects by itself.
    source.close();
    failures += 1;
    if (failures > MAX_FAILURES) {
      say("off", STALE);
      return;
    }
    setTimeout(follow, pause);
    pause = Math.min(pause * 2, 15000);
  });
  window.addEventListener("pagehide", () => source.close(), { once: true });
}

follow();
