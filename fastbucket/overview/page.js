"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const cards = [...document.querySelectorAll("#samples .card")];
  const buckets = [...document.querySelectorAll("#samples .bucket")];
  const texts = cards.map((card) => card.textContent.toLowerCase());
  const details = JSON.parse($("details").textContent);

  // Search and filters: every word must be somewhere in a card.
  const filter = () => {
    const words = $("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const bucket = $("bucket").value, caption = $("caption").value;
    let found = 0;
    cards.forEach((card, i) => {
      const fits =
        (!bucket || card.closest(".bucket").dataset.bucket === bucket) &&
        (!caption || card.dataset.c === caption) &&
        words.every((word) => texts[i].includes(word));
      card.hidden = !fits;
      found += fits;
    });
    for (const sheet of buckets) sheet.hidden = !sheet.querySelector(".card:not([hidden])");
    $("found").textContent = found.toLocaleString("en") + " shown";
    $("nothing").hidden = found > 0;
  };
  let waiting = 0;
  $("words").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 80);
  });
  for (const id of ["bucket", "caption"]) $(id).addEventListener("change", filter);
  $("filter").addEventListener("submit", (event) => { event.preventDefault(); filter(); });
  if ($("words").value || $("bucket").value || $("caption").value) filter();  // after "back"

  // A bucket's name in the table leads to its sheet, also when a filter hides that.
  for (const link of document.querySelectorAll('a[href^="#sheet-"]')) {
    link.addEventListener("click", () => {
      if ($(link.hash.slice(1)).hidden) {
        $("words").value = $("bucket").value = $("caption").value = "";
        filter();
      }
    });
  }

  // The table of buckets, sorted by a column.
  const value = (row, i) => {
    const text = row.cells[i].textContent.trim();
    const units = { kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };
    const match = text.replace(/,/g, "").match(/^[<>]?(-?[\d.]+)\s*(\S+)?$/);
    return match ? parseFloat(match[1]) * (units[match[2]] || 1) : text;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, i) => {
      head.tabIndex = 0;
      const sort = () => {
        const up = head.getAttribute("aria-sort") === "descending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => {
          const [x, y] = [value(a, i), value(b, i)];
          const order = typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === "string" ? -1 : 1;
          return up ? order : -order;
        });
        table.tBodies[0].append(...rows);
      };
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
    });
  }

  // One sample, opened: thumbnail, caption, where its crop lies in the source, all facts.
  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const crop = (fact) => {
    const { source_w: w, source_h: h, resized_w: rw, resized_h: rh } = fact;
    if (!(w > 0 && h > 0 && rw > 0 && rh > 0 && fact.crop_x >= 0)) return null;
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", `-2 -2 ${rw + 4} ${rh + 4}`);
    const box = (x, y, width, height, kind) => {
      const rect = document.createElementNS(space, "rect");
      for (const [k, v] of Object.entries({ x, y, width, height })) rect.setAttribute(k, v);
      rect.setAttribute("class", kind);
      rect.setAttribute("stroke-width", rw / 160);
      svg.append(rect);
    };
    box(0, 0, rw, rh, "whole");
    box(fact.crop_x, fact.crop_y, fact.w, fact.h, "crop");
    return svg;
  };
  const open = (card) => {
    const fact = details[card.dataset.n];
    const body = $("detail-body");
    body.replaceChildren();
    const two = element("div", undefined, "two");
    const image = card.querySelector("img");
    if (image) {
      const copy = element("img");
      copy.src = image.src;
      copy.alt = "";
      two.append(copy);
    }
    const drawing = crop(fact);
    if (drawing) {
      const beside = element("div");
      beside.append(drawing, element("p", `${fact.w}×${fact.h} of ${fact.resized_w}×${fact.resized_h}`, "note"));
      two.append(beside);
    }
    body.append(two);
    const caption = card.querySelector("figcaption b");
    body.append(element("p", caption.textContent));
    const table = element("table", undefined, "plain");
    const rows = table.appendChild(element("tbody"));
    for (const [name, value] of Object.entries(fact)) {
      const row = rows.insertRow();
      row.insertCell().textContent = name;
      row.insertCell().textContent = typeof value === "number" && name === "scale" ? value.toFixed(4) : value;
    }
    body.append(table);
    $("detail").showModal();
    $("detail").scrollTop = 0;
  };
  for (const card of cards) {
    card.addEventListener("click", () => { if (!String(getSelection())) open(card); });
    card.addEventListener("keydown", (event) => { if (event.key === "Enter") open(card); });
  }
  $("detail").addEventListener("click", (event) => { if (event.target === $("detail")) $("detail").close(); });

  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
})();
