// Small comforts; every page works without them.
"use strict";

// A changed quantity is sent at once; the button is for those without script.
for (const input of document.querySelectorAll("[data-autosubmit]")) {
  input.addEventListener("change", () => input.form.requestSubmit());
}

// A form is sent once: a double click must not look like two wishes. (The server makes sure anyway.)
for (const form of document.querySelectorAll("[data-once]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    const button = form.querySelector("[data-busy]");
    if (button) button.textContent = button.dataset.busy;
  });
}
// A page that comes back from the browser's memory may be sent again.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("[data-once]")) delete form.dataset.sent;
});
