"use strict";
// Loads the page anew while its sweep is watched; the browser keeps the place, and the address the config.
setInterval(() => { if (!document.hidden) location.reload(); }, 1000 * SECONDS);
