// Sends a form many times at once, as many tabs would: each adds one, and none may be lost. Without this script it adds one.
"use strict";
for (const form of document.querySelectorAll("form[data-tabs]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const status = form.querySelector("[role=status]");
    status.textContent = "adding …";
    const one = () => fetch(form.action, { method: "POST", body: new FormData(form), redirect: "manual" });
    await Promise.all(Array.from({ length: Number(form.dataset.tabs) }, one));
    location.reload();
  });
}
