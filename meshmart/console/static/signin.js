// The log-in page of a console that only admins may see.

const form = document.getElementById("sign-in");
const button = document.getElementById("sign-in-button");
const problem = document.getElementById("sign-in-problem");

async function logIn() {
  const { name, password } = form.elements;
  const answer = await fetch("/api/login", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: name.value, password: password.value }),
  });
  if (answer.ok) {
    location.reload();
    return "";
  }
  password.value = "";
  const told = await answer.json().catch(() => ({}));
  return String(told.error ?? `The console answered with the status ${answer.status}.`);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  problem.textContent = "";
  try {
    problem.textContent = await logIn();
  } catch {
    problem.textContent = "The console does not answer.";
  } finally {
    button.disabled = false;
  }
});
form.elements.name.focus();
