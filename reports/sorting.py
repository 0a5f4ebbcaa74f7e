"""The script inside every page: tables are sorted by their headings, and a line's cells are shown on demand.

It loads nothing and stores nothing; without it a page reads the same, in its own order.
"""

SCRIPT = r"""
(() => {
  "use strict";
  const MISSING = "\u2013";

  // A text's numbers, in order: 54.3 and 1.2 of "54.3 +- 1.2", 9 and 10 of "9/10"; a minus sign is one, commas go.
  const numbers = text => {
    const plain = text.replace(/\u2212/g, "-").replace(/(\d),(?=\d{3})/g, "$1");
    return (plain.match(/[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?/gi) || []).map(Number);
  };
  const isMissing = text => text === "" || text.startsWith(MISSING);
  const textOf = (row, column) => row.cells[column].textContent.trim();

  const compareNumbers = (first, second) => {
    for (let place = 0; place < Math.min(first.length, second.length); place++) {
      if (first[place] !== second[place]) return first[place] - second[place];
    }
    return first.length - second.length;
  };
  const compareTexts = (first, second) => first.localeCompare(second, "en", {numeric: true});

  // The rows by one column, missing numbers last in both directions, equal ones in their own order.
  const sorted = (rows, column, direction) => {
    const lines = rows.map(row => ({row, text: textOf(row, column)}));
    const there = lines.filter(line => !isMissing(line.text));
    for (const line of there) line.numbers = numbers(line.text);
    const right = rows.length > 0 && !rows[0].cells[column].classList.contains("left");
    const asNumbers = there.every(line =>
      right ? line.numbers.length > 0 : /^[-+\u2212]?\d[\d.,]*$/.test(line.text));
    const compare = asNumbers
      ? (a, b) => compareNumbers(a.numbers, b.numbers) : (a, b) => compareTexts(a.text, b.text);
    there.sort((a, b) => direction * compare(a, b));
    return [...there, ...lines.filter(line => isMissing(line.text))].map(line => line.row);
  };

  // A line between groups stands where rows are in their own order, or in that of a column of the group's.
  const markGroups = (table, rows, column, original) => {
    const width = Number(table.dataset.group || 0);
    const same = (a, b) => [...Array(width).keys()].every(each => textOf(a, each) === textOf(b, each));
    rows.forEach((row, place) => {
      const begins = place > 0 && width > 0 && !same(row, rows[place - 1]);
      row.classList.toggle("group", begins && (original || column < width));
    });
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0], original = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "sort by this column";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const next = before === null ? "ascending" : before === "ascending" ? "descending" : null;
        for (const each of heads) each.removeAttribute("aria-sort");
        if (next !== null) head.setAttribute("aria-sort", next);
        const rows = next === null
          ? original : sorted(original, column, next === "ascending" ? 1 : -1);
        markGroups(table, rows, column, next === null);
        body.append(...rows);
      });
    });
  }

  // The rows of a list such as "3-12 40".
  const places = list => {
    const found = new Set();
    for (const part of list.split(" ")) {
      const [first, last = first] = part.split("-").map(Number);
      for (let place = first; place <= last; place++) found.add(String(place));
    }
    return found;
  };

  const show = (details, wanted, words) => {
    const rows = [...details.querySelectorAll("tr[data-cell]")];
    for (const row of rows) row.hidden = wanted !== null && !wanted.has(row.dataset.cell);
    let line = details.querySelector("p.filter");
    if (line === null) {
      line = document.createElement("p");
      line.className = "filter";
      details.querySelector("summary").after(line);
    }
    line.replaceChildren(words);
    line.hidden = wanted === null;
    const all = document.createElement("button");
    all.type = "button";
    all.textContent = `show all ${rows.length}`;
    all.addEventListener("click", () => show(details, null, ""));
    line.append(" ", all);
  };

  document.addEventListener("click", event => {
    const link = event.target.closest("a[data-cells]");
    const details = link && document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (!details) return;
    const row = link.closest("tr"), width = Number(row.closest("table").dataset.group || 0);
    const named = [...row.cells].slice(0, Math.max(width + 1, 1)).map(cell => cell.textContent.trim());
    details.open = true;
    show(details, places(link.dataset.cells), `Behind one line (${named.join(", ")}): ${link.textContent} ${link.textContent === "1" ? "cell" : "cells"}.`);
  });
})();
"""
