// Shows the present state every two seconds, until the reader pauses it. Without it the page shows its own time.
const PERIOD = 2000;
const pause = document.getElementById("pause");
let paused = false;

// What the reader has reached inside the state stays as it was: the focus and how far a table is scrolled.
function replace(state) {
  const old = document.getElementById("state");
  const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
  const scrolled = [...old.querySelectorAll("[id]")].map((part) => [part.id, part.scrollLeft]);
  old.replaceWith(state);
  for (const [id, left] of scrolled) document.getElementById(id)?.scrollTo(left, 0);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

async function refresh() {
  if (!paused && !document.hidden) {
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (answer.ok && !paused) replace(page.getElementById("state"));
      document.body.classList.toggle("stale", !answer.ok);
    } catch {
      document.body.classList.add("stale"); // The process has ended, or is busy: the next attempt says.
    }
  }
  setTimeout(refresh, PERIOD);
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
});
setTimeout(refresh, PERIOD);
