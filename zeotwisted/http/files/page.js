// Keeps the page up to date: each event has all texts, and they are put where the page has them.
// Texts are only ever set as texts, so nothing that a client sends can become a part of the page.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function setText(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

function setCell(cell, content) {
  if (typeof content === "string") {
    setText(cell, content);
    return;
  }
  const [text, href, label] = content;
  let link = cell.querySelector("a");
  if (link === null) {
    cell.replaceChildren();
    link = cell.appendChild(document.createElement("a"));
  }
  if (link.getAttribute("href") !== href) {
    link.setAttribute("href", href);
  }
  link.setAttribute("aria-label", label);
  setText(link, text);
}

function newRow(key, labels) {
  const row = document.createElement("tr");
  row.dataset.key = key;
  for (const label of labels) {
    row.insertCell().dataset.label = label;
  }
  return row;
}

// Rows stay where they are as long as their keys do, so that the focus is not lost.
function setTable(table, rows) {
  const body = table.tBodies[0];
  const labels = Array.from(table.tHead.rows[0].cells, (cell) => cell.textContent);
  const old = new Map(Array.from(body.rows, (row) => [row.dataset.key, row]));
  rows.forEach(([key, cells], index) => {
    const row = old.get(key) || newRow(key, labels);
    old.delete(key);
    cells.forEach((content, number) => setCell(row.cells[number], content));
    if (body.rows[index] !== row) {
      body.insertBefore(row, body.rows[index] || null);
    }
  });
  for (const row of old.values()) {
    row.remove();
  }
  if (rows.length === 0) {
    body.replaceChildren();
  }
  document.querySelector(`[data-nothing="${table.dataset.table}"]`).hidden = rows.length > 0;
}

function setPlot(figure, [lines, top, now]) {
  setText(figure.querySelector("[data-top]"), top);
  setText(figure.querySelector("[data-now]"), now);
  const group = figure.querySelector("[data-lines]");
  while (group.childElementCount > lines.length) {
    group.lastElementChild.remove();
  }
  lines.forEach((points, index) => {
    const line = group.children[index] || group.appendChild(document.createElementNS(SVG, "polyline"));
    line.setAttribute("points", points);
  });
}

function show(snapshot) {
  for (const node of document.querySelectorAll("[data-text]")) {
    setText(node, snapshot.texts[node.dataset.text]);
  }
  const status = snapshot.texts.status;
  document.title = `zeotwisted: ${status}`;
  document.querySelector("[data-state]").dataset.state = status === "Ready" ? "good" : "bad";
  for (const table of document.querySelectorAll("[data-table]")) {
    setTable(table, snapshot.tables[table.dataset.table]);
  }
  for (const figure of document.querySelectorAll("[data-plot]")) {
    setPlot(figure, snapshot.plots[figure.dataset.plot]);
  }
}

function watch() {
  const live = document.getElementById("live");
  const source = new EventSource("events");
  source.onmessage = (event) => {
    show(JSON.parse(event.data));
    setText(live, "");
  };
  source.onerror = () => {
    setText(live, "Not connected: these figures are old.");
    // A browser gives up after an answer that is none; the daemon may be starting.
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(watch, 5000);
    }
  };
  // Without this, a page that a browser keeps for its "back" would go on watching.
  addEventListener("pagehide", () => source.close(), { once: true });
  addEventListener("pageshow", (event) => event.persisted && location.reload(), { once: true });
}

watch();
