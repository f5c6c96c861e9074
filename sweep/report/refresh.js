"use strict";
// Loads the page anew while its sweep is watched, unless configs are being filtered or compared; the browser
// keeps the place, and the address the config.
setInterval(() => {
  const used = document.getElementById("filter")?.value || document.querySelector("#configs :checked");
  if (!document.hidden && !used) location.reload();
}, 1000 * SECONDS);
