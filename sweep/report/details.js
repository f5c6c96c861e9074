"use strict";
// Shows the config that is chosen in the list or clicked in a figure of the front.
(() => {
  const chosen = document.getElementById("chosen");
  if (!chosen) return;
  const plots = [...document.querySelectorAll('.js-plotly-plot[id^="front-"]')];

  function ring(plot, trial) {
    for (const trace of plot.data) {
      const at = (trace.customdata || []).indexOf(trial);
      if (at >= 0) return Plotly.restyle(plot, {x: [[trace.x[at]]], y: [[trace.y[at]]]}, [plot.data.length - 1]);
    }
    Plotly.restyle(plot, {x: [[null]], y: [[null]]}, [plot.data.length - 1]);
  }

  function show(trial, hover) {
    document.querySelectorAll(".details article").forEach(article => { article.hidden = true; });
    let article = trial ? document.getElementById("detail-" + trial) : null;
    chosen.value = article ? trial : "";
    history.replaceState(null, "", "#" + chosen.value);
    if (trial && !article) {
      article = document.getElementById("detail-other");
      article.querySelector("h3").textContent = trial;
      article.querySelector("p").innerHTML = hover;
    }
    if (article) {
      const strips = article.querySelector(".strips");
      const samples = document.querySelector(`[data-samples="${trial}"]`);
      if (strips && samples && !strips.hasChildNodes()) strips.append(samples.cloneNode(true));
      article.hidden = false;
    }
    document.getElementById("announcement").textContent =
      article ? "Shown below: " + article.querySelector("h3").textContent : "";
    plots.forEach(plot => ring(plot, trial));
  }

  const named = decodeURIComponent(location.hash.slice(1)); // report.html#t0007 opens with that config
  if (named && document.getElementById("detail-" + named)) show(named);
  chosen.addEventListener("change", () => show(chosen.value));
  plots.forEach(plot => plot.on("plotly_click", event => {
    const point = event.points.find(found => found.customdata);
    if (point) show(point.customdata, point.hovertext);
  }));
})();
