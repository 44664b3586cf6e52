(() => {
  "use strict";
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const make = (name, text, properties) =>
    Object.assign(document.createElement(name), text === undefined ? {} : { textContent: text }, properties);
  const short = (value, digits = 4) => {
    if (value === null || value === undefined) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    return size >= 1e-3 && size < 1e5 ? String(Number(value.toPrecision(digits))) : value.toExponential(digits - 2);
  };

  /* ---- every run: filter, sort, unfold ------------------------------------------------------------------------- */
  const table = document.getElementById("cells");
  const bodies = Array.from(table.tBodies);
  const chunk = bodies[0].rows.length;
  const rows = bodies.flatMap((body) => Array.from(body.rows));
  const place = new Map(rows.map((row, index) => [row, index]));
  const filter = document.getElementById("filter");
  const choices = [["status", 4], ["problem", 1]]
    .map(([id, column]) => ({ select: document.getElementById(id), column }))
    .filter((choice) => choice.select);
  const shown = document.getElementById("shown");
  const cache = new Map();
  const text = (row, index) => {
    let cell = row.firstElementChild;
    for (let step = 0; step < index; step += 1) cell = cell.nextElementSibling;
    return cell.textContent.trim();
  };
  const column = (index) => {
    if (!cache.has(index)) cache.set(index, rows.map((row) => text(row, index)));
    return cache.get(index);
  };
  let texts = null;
  const rowTexts = () => {
    if (!texts) texts = rows.map((row) => row.textContent.toLowerCase());
    return texts;
  };

  // A rank for every row: numbers by value and missing ones last, texts in the order of a reader.
  const ranks = new Map();
  const rank = (index) => {
    if (!ranks.has(index)) {
      const values = column(index);
      const order = values.map((value) => (value === "–" ? NaN : value === "inf" ? Infinity : value === "-inf" ? -Infinity : Number(value)));
      if (values.some((value, place) => Number.isNaN(order[place]) && value !== "–" && value !== "nan")) {
        const compare = new Intl.Collator("en", { numeric: true }).compare;
        const distinct = new Map(Array.from(new Set(values)).sort(compare).map((value, number) => [value, number]));
        values.forEach((value, place) => (order[place] = value === "–" ? NaN : distinct.get(value)));
      }
      ranks.set(index, Float64Array.from(order));
    }
    return ranks.get(index);
  };

  const planned = rows.map((_, index) => index);
  let order = planned;
  let sorting = null;
  const sort = () => {
    const by = rank(sorting.column);
    const sign = sorting.descending ? -1 : 1;
    order = planned.slice().sort((a, b) => {
      const x = by[a];
      const y = by[b];
      if (x === y) return a - b;
      if (x !== x) return y !== y ? a - b : 1;
      return y !== y ? -1 : sign * (x - y);
    });
  };

  const fill = () => {
    fold();
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = choices.filter((choice) => choice.select.value).map((choice) => [column(choice.column), choice.select.value]);
    const content = words.length ? rowTexts() : null;
    const found = order.filter(
      (index) =>
        wanted.every(([values, value]) => values[index] === value) && words.every((word) => content[index].includes(word)),
    );
    // Emptying every body first is faster than moving rows from one to another.
    bodies.forEach((body) => body.replaceChildren());
    bodies.forEach((body, number) => {
      const part = found.slice(number * chunk, (number + 1) * chunk).map((index) => rows[index]);
      body.append(...part);
      body.hidden = part.length === 0;
      body.style.setProperty("--rows", part.length);
    });
    if (found.length) focusable(rows[found[0]]);
    const all = rows.length.toLocaleString("en");
    shown.textContent = found.length === rows.length ? `${all} runs` : `${found.length.toLocaleString("en")} of ${all} runs`;
  };

  const headers = Array.from(table.tHead.rows[0].cells);
  headers.forEach((header, index) => {
    const button = make("button", header.textContent, { type: "button" });
    header.replaceChildren(button);
    button.addEventListener("click", () => {
      const descending = sorting !== null && sorting.column === index && !sorting.descending;
      sorting = { column: index, descending };
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sort();
      fill();
    });
  });
  let waiting = 0;
  filter.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(fill, 120);
  });
  choices.forEach((choice) => choice.select.addEventListener("change", fill));
  filter.form.addEventListener("submit", (event) => event.preventDefault());

  let current = null;
  const focusable = (row) => {
    if (current) current.removeAttribute("tabindex");
    current = row;
    row.tabIndex = 0;
  };
  const units = {
    setup_seconds: (value) => `set-up ${value} s`,
    measure_seconds: (value) => `measuring ${value} s`,
    wall_seconds: (value) => `in all ${value} s`,
    cpu_seconds: (value) => `CPU ${value} s`,
    gradient_evaluations: (value) => `${value} gradient evaluations`,
    beside: (value) => `other cells at the time: ${value}`,
  };
  let details = null;
  let unfolded = null;
  const fold = () => {
    if (!unfolded) return;
    unfolded.previousElementSibling?.removeAttribute("aria-expanded");
    unfolded.remove();
    unfolded = null;
  };
  const command = (index) => {
    const template = details.commands[details.command[index]];
    return template.replaceAll("\0", rows[index].lastElementChild.textContent.trim());
  };
  const unfold = (row) => {
    const again = unfolded && unfolded.previousElementSibling === row;
    fold();
    if (again) return;
    details = details || read("details");
    const index = place.get(row);
    const cell = make("td", undefined, { colSpan: headers.length });
    if (details.reason[index] >= 0) cell.append(make("p", details.reasons[details.reason[index]]));
    if (details.shape.length) {
      const slots = details.shapes[details.shape[index]];
      if (slots.length) cell.append(figures(slots.map((slot) => details.slots[slot]), details.figures[index]));
    } else {
      cell.append(make("p", "This report has too many figures to unfold them here; `wgfbench export` writes them all."));
    }
    const spent = Object.entries(details.columns)
      .filter(([, values]) => values[index] !== null)
      .map(([name, values]) => units[name](short(values[index], 3)));
    if (spent.length) cell.append(make("p", spent.join(" · "), { className: "note" }));
    if (details.said[index] >= 0) {
      cell.append(make("p", details.diagnostics[details.said[index]], { className: "note" }));
    }
    if (command(index)) {
      const line = make("p", undefined, { className: "command" });
      line.append(make("code", command(index)), make("button", "copy", { type: "button", className: "copy" }));
      cell.append(line);
    }
    unfolded = make("tr", undefined, { className: "unfolded" });
    unfolded.append(cell);
    row.after(unfolded);
    row.setAttribute("aria-expanded", "true");
  };
  const figures = (slots, values) => {
    const list = make("table");
    const head = list.createTHead().insertRow();
    for (const name of ["Measure", "t", "Value", "Standard error", "Floor", "Estimator"]) {
      head.append(make("th", name, { scope: "col" }));
    }
    const body = list.createTBody();
    slots.forEach(([time, metric, estimator], slot) => {
      const line = body.insertRow();
      line.append(make("th", metric, { scope: "row" }));
      const [value, error, floor] = values.slice(3 * slot, 3 * slot + 3);
      for (const text of [short(time), short(value), short(error, 2), short(floor), estimator]) line.append(make("td", text));
    });
    return list;
  };
  table.addEventListener("click", (event) => {
    const row = event.target.closest("#cells > tbody > tr");
    if (!row || row === unfolded || !getSelection().isCollapsed) return;
    focusable(row);
    unfold(row);
  });
  table.addEventListener("keydown", (event) => {
    if (event.target !== current) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      unfold(current);
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const down = event.key === "ArrowDown";
      const step = (row) => (down ? row.nextElementSibling : row.previousElementSibling);
      let next = step(current);
      if (next === unfolded && next) next = step(next);
      if (!next) {
        const body = down ? current.parentElement.nextElementSibling : current.parentElement.previousElementSibling;
        next = body?.tagName === "TBODY" ? (down ? body.firstElementChild : body.lastElementChild) : null;
      }
      if (next) {
        focusable(next);
        next.focus();
      }
    }
  });
  if (rows.length) focusable(rows[0]);

  /* ---- commands ------------------------------------------------------------------------------------------------ */
  document.addEventListener("click", async (event) => {
    const button = event.target.closest(".copy");
    if (!button) return;
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "copied";
      setTimeout(() => (button.textContent = "copy"), 1500);
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "selected";
    }
  });

  for (const element of document.querySelectorAll(".script")) element.hidden = false;
  document.documentElement.classList.add("js");
  performance.mark("table");

  // Later, while nothing happens: what the first sort and the first search would have to gather.
  const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 50));
  const gather = (index) => {
    if (index === headers.length) return void rowTexts();
    rank(index);
    idle(() => gather(index + 1));
  };
  addEventListener("load", () => idle(() => gather(0)));
})();
