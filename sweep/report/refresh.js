"use strict";
// Loads the page anew while its sweep is watched, and comes back to the same place and config.
((seconds) => {
  const key = "sweep " + location.pathname;
  const [top, trial] = JSON.parse(sessionStorage.getItem(key) || "[0, null]");
  const chosen = document.getElementById("chosen");
  addEventListener("load", () => {
    if (trial && chosen) {
      chosen.value = trial;
      chosen.dispatchEvent(new Event("change"));
    }
    scrollTo(0, top);
  });
  setInterval(() => {
    if (document.hidden) return;
    sessionStorage.setItem(key, JSON.stringify([scrollY, chosen && chosen.value]));
    location.reload();
  }, 1000 * seconds);
})(SECONDS);
