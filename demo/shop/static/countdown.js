// Counts the seconds that the server printed down to zero; without it the page shows them as of its loading.
"use strict";
const loaded = Date.now();
const shown = [...document.querySelectorAll("[data-countdown]")];
function tick() {
  const passed = Math.floor((Date.now() - loaded) / 1000);
  for (const element of shown) {
    const left = Math.max(0, Number(element.dataset.countdown) - passed);
    element.textContent = left;
    const bar = element.parentElement.querySelector("progress");
    if (bar) bar.value = left;
  }
}
if (shown.length) setInterval(tick, 1000);
