"use strict";
// Inflates plotly.js, which the page holds compressed, and draws the figures.
const drawn = (async () => {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), sign => sign.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const library = document.createElement("script");
  library.textContent = await new Response(stream).text();
  document.head.append(library);
  const config = {displayModeBar: false, responsive: true};
  for (const figure of document.querySelectorAll("figure > script")) {
    const {data, layout} = JSON.parse(figure.textContent);
    Plotly.newPlot(figure.previousElementSibling, data, layout, config);
  }
})();
