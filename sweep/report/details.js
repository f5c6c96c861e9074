"use strict";
// Configs in detail: the one that is clicked in a figure or linked to, and two side by side; and their table.
(() => {
  const chosen = document.getElementById("chosen");
  const plots = [];
  const detail = trial => document.getElementById("detail-" + trial);
  const create = (tag, more, ...parts) => {
    const made = Object.assign(document.createElement(tag), more);
    made.append(...parts);
    return made;
  };

  function ring(plot, trial) {
    for (const trace of plot.data) {
      const at = (trace.customdata || []).indexOf(trial);
      if (at >= 0) return Plotly.restyle(plot, {x: [[trace.x[at]]], y: [[trace.y[at]]]}, [plot.data.length - 1]);
    }
    Plotly.restyle(plot, {x: [[null]], y: [[null]]}, [plot.data.length - 1]);
  }

  function fill(article, trial) {
    const strips = article.querySelector(".strips");
    const samples = document.querySelector(`[data-samples="${CSS.escape(trial)}"]`);
    if (strips && samples && !strips.hasChildNodes()) strips.append(samples.cloneNode(true));
    return article;
  }

  function show(trial, hover) {
    document.querySelectorAll(".details article[id]").forEach(article => { article.hidden = true; });
    let article = trial ? detail(trial) : null;
    chosen.value = article ? trial : "";
    history.replaceState(null, "", "#" + trial);
    if (trial && !article) {
      article = document.getElementById("detail-other");
      article.querySelector("h3").textContent = trial;
      article.querySelector("p").innerHTML = hover;
    }
    if (article) fill(article, trial).hidden = false;
    document.getElementById("announcement").textContent =
      article ? "Shown below: " + article.querySelector("h3").textContent : "";
    plots.forEach(plot => ring(plot, trial));
    return article;
  }

  function open() { // report.html#t0007 opens with that config
    const named = decodeURIComponent(location.hash.slice(1));
    return named && detail(named) ? show(named) : null;
  }

  function into(article) {
    article.scrollIntoView({block: "start"});
    article.focus({preventScroll: true});
  }

  if (chosen) {
    const article = open();
    // A page that is loaded anew keeps its place.
    if (article && performance.getEntriesByType("navigation")[0].type === "navigate") into(article);
    addEventListener("hashchange", () => { const found = open(); if (found) into(found); });
    chosen.addEventListener("change", () => show(chosen.value));
    drawn.then(() => document.querySelectorAll('figure > [id^="front-"]').forEach(plot => {
      plots.push(plot);
      if (chosen.value) ring(plot, chosen.value);
      plot.on("plotly_click", event => {
        const point = event.points.find(found => found.customdata);
        if (point) into(show(point.customdata, point.hovertext));
      });
    }));
  }

  const table = document.querySelector("#configs table");
  if (!table) return;
  const body = table.tBodies[0], rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const text = (row, at) => row.cells[at].textContent;

  // A row's cells are addressed from the end: boxes may come to stand before the others.
  heads.forEach((head, at) => {
    const button = create("button", {type: "button"}, ...head.childNodes);
    const back = at - heads.length;
    button.addEventListener("click", () => {
      const first = head.textContent.includes("↑") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const way = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach(each => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", way);
      const number = head.className === "number", sign = way === "ascending" ? 1 : -1;
      const order = (a, b) => {
        const [one, two] = [a, b].map(row => text(row, row.cells.length + back));
        if (!one || !two) return !one - !two; // empty cells come last
        return sign * (number ? parseFloat(one) - parseFloat(two) : one.localeCompare(two, "en", {numeric: true}));
      };
      body.append(...rows.sort(order));
    });
    head.append(button);
  });

  const count = create("span", {role: "status"});
  const field = create("input", {type: "search", id: "filter"});
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    rows.forEach(row => { row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word)); });
    count.textContent = field.value && `${rows.filter(row => !row.hidden).length} of ${rows.length}`;
  });
  const label = create("label", {htmlFor: "filter"}, "Filter");
  table.parentElement.before(create("p", {className: "tools"}, label, " ", field, " ", count));

  if (!chosen) return;
  const pair = create("div", {className: "details pair wide", role: "region", ariaLabel: "two configs side by side"});
  table.parentElement.after(pair);
  let picked = [];
  function pick(box) {
    picked = picked.filter(other => other !== box);
    if (box.checked) picked.push(box);
    if (picked.length > 2) picked.shift().checked = false;
    const two = picked.length === 2 ? picked.map(({value}) => fill(detail(value), value).cloneNode(true)) : [];
    two.forEach(article => { article.removeAttribute("id"); article.hidden = false; });
    const [left, right] = two.map(article => article.querySelectorAll("dd"));
    if (left) left.forEach((dd, at) => {
      if (dd.textContent !== right[at]?.textContent) [dd, right[at]].forEach(each => each?.classList.add("differs"));
    });
    pair.replaceChildren(...two);
  }
  table.tHead.rows[0].prepend(create("th", {scope: "col"}, "compare"));
  rows.forEach(row => {
    const trial = text(row, 0), known = detail(trial);
    if (known) {
      const link = create("a", {href: "#" + encodeURIComponent(trial)}, trial);
      link.addEventListener("click", event => { event.preventDefault(); into(show(trial)); });
      row.cells[0].replaceChildren(link);
    }
    const box = create("input", {type: "checkbox", value: trial, ariaLabel: "compare " + trial});
    box.addEventListener("change", () => pick(box));
    row.prepend(create("td", {}, ...(known ? [box] : [])));
  });
})();
