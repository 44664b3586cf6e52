/* Error against dimension, or time where there is one dimension, and against wall-clock; one legend for both. */
(() => {
  "use strict";
  const { problems, make, plain, unique, theme, glyph } = drawing;
  const short = (value) => {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    return value === 0 || (size >= 1e-3 && size < 1e5) ? String(Number(value.toPrecision(3))) : value.toExponential(2);
  };
  // Marks as Plotly names them, and as they look in the legend.
  const marks = [
    ["circle", "M11 1.5a4.5 4.5 0 1 0 .01 0Z"], ["square", "M7 2h8v8h-8Z"], ["triangle-up", "M11 1 16 10H6Z"],
    ["cross", "M9.5 1h3v3.5H16v3h-3.5V11h-3V7.5H6v-3h3.5Z"], ["triangle-down", "M11 11 6 2h10Z"], ["diamond", "M11 0 16 6 11 12 6 6Z"],
    ["pentagon", "M11 1 16 5 14 10.5H8L6 5Z"], ["hexagon", "M11 .8 15.5 3.4v5.2L11 11.2 6.5 8.6V3.4Z"],
    ["triangle-left", "M6 6 15 1v10Z"], ["triangle-right", "M16 6 7 1v10Z"],
  ];
  const open = [5, 1, 0, 2, 4, 6, 3, 7];
  const dashes = { dash: "6 3", dot: "2 2.5", dashdot: "6 2 2 2", longdash: "9 3" };
  const dash = (index) => Object.keys(dashes)[index % 4];
  const known = (values) => values.some((value) => value !== null);
  const spread = (data, low, high, middle, colour) => ({
    type: "data", symmetric: false, color: colour, thickness: 1, width: 2,
    array: data[high].map((value, index) => (value === null ? 0 : value - data[middle][index])),
    arrayminus: data[low].map((value, index) => (value === null ? 0 : data[middle][index] - value)),
  });
  // A series of one solver, put together of those of several views, or kept where it fits.
  const columns = (data) => Object.keys(data).filter((name) => Array.isArray(data[name]) && name !== "runs");
  const pick = (data, kept) => ({ ...data, ...Object.fromEntries(columns(data).map((name) => [name, data[name].filter((_, index) => kept[index])])) });
  const join = (parts) => ({ ...parts[0], ...Object.fromEntries(columns(parts[0]).map((name) => [name, parts.flatMap((part) => part[name])])) });
  const timed = (part, time) => ({ ...part, time: part.size.map(() => time) });

  const chart = (section) => {
    const problem = problems[Number(section.dataset.problem)];
    const box = section.querySelector(".plots");
    if (!box) return null;
    const hidden = new Set();
    const metrics = unique(problem.views.map((view) => view.metric));
    const times = unique(problem.views.map((view) => view.t)).sort((a, b) => a - b);
    const sizes = unique(problem.views.flatMap((view) => view.series.flatMap((series) => series.size))).sort((a, b) => a - b);
    // What the first plot has along: dimensions, else times; a problem with one of each needs the second plot alone.
    const along = sizes.length > 1 ? "size" : times.length > 1 ? "time" : null;
    const controls = box.querySelector(".controls");
    const choose = (name, options) => {
      const label = make("label", name);
      const select = make("select");
      options.forEach(([value, text]) => select.append(make("option", text, { value })));
      label.append(select);
      label.hidden = options.length < 2;
      controls.append(label);
      select.addEventListener("change", () => draw());
      return select;
    };
    const metric = choose("Measure", metrics.map((name) => [name, name]));
    const time = choose(along === "time" ? "Time in the second plot" : "Time", times.map((value) => [value, `t = ${value}`]));
    const size = choose("Dimension in the second plot",
      [...(sizes.length > 1 ? [["", "all"]] : []), ...sizes.map((value) => [value, `D = ${value}`])]);
    if (along === null) box.querySelector("figure").hidden = true;
    if (along === "time") {
      box.querySelector("figcaption").textContent = `Error against time, D = ${sizes[0]}: medians with quartiles over the seeds.`;
    }

    const view = () => {
      const same = problem.views.filter((other) => other.metric === metric.value);
      return same.find((other) => other.t === Number(time.value)) ?? same[0];
    };
    // The view of the first plot: this one, or those of all times together.
    const gathered = (now) => {
      if (along !== "time") return now;
      const same = problem.views.filter((other) => other.metric === now.metric).sort((a, b) => a.t - b.t);
      const gather = (list, name) => {
        const names = unique(same.flatMap((other) => other[list].map((part) => part[name])));
        return names.map((value) => join(same.flatMap((other) =>
          other[list].filter((part) => part[name] === value).map((part) => timed(part, other.t)))));
      };
      return { ...now, series: gather("series", "label"), floors: gather("floors", "name"), others: gather("others", "label") };
    };

    const entries = (now) => [
      ...now.series.filter((series) => series.size.length).map((series) => ({
        key: `solver ${problem.labels[series.label]}`, name: problem.labels[series.label], colour: problem.colours[series.label],
        mark: series.label % marks.length })),
      ...now.floors.map((floor, index) => ({ key: floor.name, name: floor.name, colour: "var(--faint)", dash: dash(index) })),
      ...(now.series.some((series) => known(series.published_median))
        ? [{ key: "published", name: `the same solvers, ${now.series.find((series) => known(series.published_median)).published_source}`, colour: "var(--soft)", open: 5 }] : []),
      ...now.others.map((other, index) => ({
        key: `published ${other.label}`, name: `${other.label}, ${other.source}`, colour: "var(--published)", open: open[index % open.length] })),
    ];

    const traces = (now, axis, colours) => {
      const first = axis !== "seconds";
      const where = axis === "time" ? "t = %{x}" : axis === "size" ? "D = %{x}" : "%{x:.3g} s";
      const only = first || size.value === "" ? null : Number(size.value);
      const keep = (data) => (only === null ? data : pick(data, data.size.map((value) => value === only)));
      const found = [];
      now.floors.forEach((floor, index) => {
        if (!first) return;
        found.push({
          key: floor.name, x: floor[axis], y: floor.value, mode: floor.size.length > 1 ? "lines" : "markers",
          line: { color: colours.faint, width: 1.3, dash: dash(index) },
          marker: { color: colours.faint, symbol: "line-ew-open", size: 22, line: { width: 1.5 } },
          // Its wide mark would take the pointer from a solver that is at its floor, whose text has the floor as well.
          hoverinfo: "skip",
        });
      });
      now.series.forEach((all) => {
        const series = keep(all);
        const label = problem.labels[series.label];
        const colour = problem.colours[series.label];
        const key = `solver ${label}`;
        if (!first) {
          const [runSizes, seeds, seconds, values] = all.runs;
          const kept = runSizes.map((value) => only === null || value === only);
          const mine = (list) => list.filter((_, index) => kept[index]);
          if (kept.some(Boolean)) {
            found.push({
              key, x: mine(seconds), y: mine(values), mode: "markers", marker: { color: colour, size: 3.5, opacity: 0.45 },
              customdata: mine(runSizes.map((value, index) => [value, seeds[index]])),
              hovertemplate: `<b>${plain(label)}</b><br>D = %{customdata[0]}, seed %{customdata[1]}<br>%{y:.3g} after ${where}<extra></extra>`,
            });
          }
        }
        if (series.size.length) {
          found.push({
            key, x: series[axis], y: series.median,
            // Dimensions are no budget: what a solver gets for more work is joined in the plot of work and precision.
            mode: first && series.size.length > 1 ? "lines+markers" : "markers",
            line: { color: colour, width: 2 },
            marker: { color: colour, size: 8, symbol: marks[series.label % marks.length][0], line: { color: colours.paper, width: 0.8 } },
            error_y: spread(series, "q25", "q75", "median", colour),
            text: series.size.map((value, index) => hover(series, index, label)), hovertemplate: "%{text}<extra></extra>",
          });
        }
        if (known(series.published_median)) {
          found.push({
            key: "published", under: key, x: first ? series[axis] : series.published_seconds, y: series.published_median,
            mode: "markers", marker: { color: colour, size: 13, symbol: "diamond-open", line: { width: 1.6 } },
            error_y: spread(series, "published_q25", "published_q75", "published_median", colour), customdata: series.size,
            hovertemplate: `<b>${plain(label)}</b><br>${series.published_source}<br>D = %{customdata}<br>%{y:.3g}${first ? "" : ` after ${where}`}<extra></extra>`,
          });
        }
      });
      now.others.forEach((all, index) => {
        const other = keep(all);
        found.push({
          key: `published ${other.label}`, x: other[axis], y: other.median, mode: "markers",
          marker: { color: colours.published, size: 9, symbol: `${marks[open[index % open.length]][0]}-open`, line: { width: 1.6 } },
          error_y: spread(other, "q25", "q75", "median", colours.published), customdata: other.size,
          hovertemplate: `<b>${plain(other.label)}</b><br>${other.source}<br>D = %{customdata}<br>%{y:.3g}${first ? "" : ` after ${where}`}<extra></extra>`,
        });
      });
      return found.map((trace) => ({
        type: "scatter", showlegend: false, ...trace, visible: !hidden.has(trace.key) && !hidden.has(trace.under),
      }));
    };
    const hover = (series, index, label) => {
      const at = (name) => short(series[name][index]);
      const lines = [`<b>${plain(label)}</b>`, `D = ${series.size[index]}`, `${at("median")} [${at("q25")}, ${at("q75")}]`];
      if (series.floor[index] !== null) lines.push(`floor ${at("floor")}`);
      if (series.published_median[index] !== null) lines.push(`published ${at("published_median")}`);
      lines.push(`${series.ok[index]} of ${series.planned[index]} runs ok, ${at("seconds")} s`);
      return lines.join("<br>");
    };

    const decades = (values) => {
      const positive = values.filter((value) => value > 0);
      return positive.length ? Math.log10(Math.max(...positive) / Math.min(...positive)) : null;
    };
    const layout = (now, axis, drawn, colours) => {
      const seen = drawn.filter((trace) => trace.visible);
      const range = { x: decades(seen.flatMap((trace) => trace.x)), y: decades(seen.flatMap((trace) => trace.y)) };
      const base = { gridcolor: colours.line, linecolor: colours.line, zeroline: false, automargin: true, ticks: "outside",
                     tickcolor: colours.line, tickfont: { size: 13 }, exponentformat: "power" };
      // Plotly writes powers of ten a quarter larger.
    const log = (width) => (width === null ? {} : { type: "log", tickfont: { size: 10.5 }, dtick: width > 9 ? 2 : width > 1.2 ? 1 : "D2" });
      const name = { size: "dimension D", time: "time t", seconds: "solve time in seconds" }[axis];
      const x = { ...base, title: { text: name }, ...(axis === "seconds" ? log(range.x) : {}) };
      if (axis === "size") Object.assign(x, { type: "log", tickmode: "array", tickvals: sizes, ticktext: sizes.map(String) });
      return {
        xaxis: x, yaxis: { ...base, title: { text: plain(now.metric), standoff: 8 }, ...(now.higher ? {} : log(range.y)) },
        margin: { l: 64, r: 12, t: 12, b: 48 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: colours.soft }, hovermode: "closest",
        hoverlabel: { bgcolor: colours.paper, bordercolor: colours.line, font: { color: colours.ink, size: 12.5 }, align: "left" },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: colours.faint, activecolor: colours.ink },
        showlegend: false, uirevision: `${now.metric} ${now.t} ${size.value}`,
      };
    };

    const sketch = (entry) => {
      const line = { "stroke-width": 1.8, "stroke-dasharray": entry.dash ? dashes[entry.dash] : "none" };
      const paths = [entry.open === undefined ? ["M0 6H22", line] : [marks[entry.open][1], { fill: "none", "stroke-width": 1.5 }]];
      if (entry.mark !== undefined) paths.push([marks[entry.mark][1], { stroke: "none" }]);
      return glyph(entry.colour, paths);
    };
    const legend = (now) => {
      const focused = document.activeElement?.dataset?.key;
      const buttons = entries(now).map((entry) => {
        const button = make("button", undefined, { type: "button", title: "Show or hide; double-click: this one alone, or all" });
        button.dataset.key = entry.key;
        button.setAttribute("aria-pressed", String(!hidden.has(entry.key)));
        button.append(sketch(entry), entry.name);
        button.addEventListener("click", () => {
          if (!hidden.delete(entry.key)) hidden.add(entry.key);
          draw();
        });
        button.addEventListener("dblclick", () => {
          const others = entries(now).map((other) => other.key).filter((key) => key !== entry.key);
          const alone = others.every((key) => hidden.has(key));
          others.forEach((key) => (alone ? hidden.delete(key) : hidden.add(key)));
          hidden.delete(entry.key);
          draw();
        });
        return button;
      });
      const holder = box.querySelector(".legend");
      const old = Array.from(holder.children);
      if (old.length === buttons.length && old.every((button, index) => button.dataset.key === buttons[index].dataset.key)) {
        old.forEach((button) => button.setAttribute("aria-pressed", String(!hidden.has(button.dataset.key))));
      } else {
        holder.replaceChildren(...buttons);
        if (focused) buttons.find((button) => button.dataset.key === focused)?.focus();
      }
    };

    const draw = () => {
      const now = view();
      const colours = theme();
      legend(now);
      let omitted = 0;
      for (const [place, axis] of [[".first", along], [".seconds", "seconds"]]) {
        if (axis === null) continue;
        const drawn = traces(axis === "seconds" ? now : gathered(now), axis, colours);
        const picture = layout(now, axis, drawn, colours);
        if (picture.yaxis.type === "log") {
          const lost = drawn.filter((trace) => trace.visible).flatMap((trace) => trace.y.filter((value) => value !== null && value <= 0));
          omitted = Math.max(omitted, lost.length);
        }
        Plotly.react(box.querySelector(place), drawn, picture, {
          responsive: true, displaylogo: false, displayModeBar: "hover", showSendToCloud: false, plotlyServerURL: "",
          modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
        });
      }
      const note = box.querySelector(".omitted");
      note.hidden = omitted === 0;
      note.textContent = `${omitted} value${omitted === 1 ? " is" : "s are"} zero or negative and not on the logarithmic axis; the tables have them.`;
    };
    return draw;
  };

  const drawn = new Map();
  const sections = Array.from(document.querySelectorAll(".problem"));
  const prepare = (section) => {
    if (drawn.has(section)) return;
    const draw = chart(section);
    drawn.set(section, draw);
    if (draw) draw();
  };
  const watcher = new IntersectionObserver(
    (seen) => seen.filter((entry) => entry.isIntersecting).forEach((entry) => {
      watcher.unobserve(entry.target);
      prepare(entry.target);
    }),
    { rootMargin: "400px" },
  );
  sections.forEach((section, index) => (index === 0 ? prepare(section) : watcher.observe(section)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((draw) => draw && draw()));
  performance.mark("interactive");
})();
