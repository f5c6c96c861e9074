"use strict";
// Loads the page anew while its sweep is watched, some time after its figures are drawn, unless configs are
// being filtered or compared; the browser keeps the place, and the address the config.
drawn.finally(() => setInterval(() => {
  const used = document.getElementById("filter")?.value || document.querySelector("#configs :checked");
  if (!document.hidden && !used) location.reload();
}, 1000 * SECONDS));
