/* The free energy over time, exact and of each solver: as it is, or what is left above the exact one at the end. */
(() => {
  "use strict";
  const { plain, dash, mark, tint, theme, settings, axis, layout, choice, legend, kinds } = drawing;

  kinds.energy = (box, problem) => {
    const controls = box.querySelector(".controls");
    const caption = box.querySelector("figcaption");
    const shown = choice(controls, "Shown", () => draw());
    const size = choice(controls, "Dimension", () => draw());
    shown.offer([["energy", "the energy F"], ["decay", "its decay, F above the last exact one"]]);
    size.offer(problem.energy.map((view) => [view.size, `D = ${view.size}`]), problem.energy.at(-1).size);
    const hidden = new Set();
    const draw = () => {
      const view = problem.energy.find((other) => other.size === Number(size.select.value));
      const exact = view.curve.t.length || view.measured.t.length ? [{ key: "exact", name: "exact", colour: "var(--faint)", shaded: true }] : [];
      legend(box, [...exact, ...view.series.map((series) => ({
        key: series.label, name: problem.labels[series.label], colour: tint(problem.colours[series.label]),
        dash: dash(series.label), mark: mark(series.label) }))], hidden, () => draw());
      const colours = theme();
      const decay = shown.select.value === "decay";
      const found = [];
      const add = (key, name, course, more) => {
        if (!course.t.length) return;
        const left = course.f.map((value) => (decay ? value - view.last : value));
        const kept = left.map((value) => !decay || value > 1e-9 * Math.max(1, Math.abs(view.last)));
        const mine = (values) => values.filter((_, index) => kept[index]);
        if (!kept.some(Boolean)) return;
        const noisy = course.error.some((value) => value > 0);
        found.push({
          type: "scatter", x: mine(course.t), y: mine(left), name: plain(name), visible: !hidden.has(key),
          ...(noisy ? { error_y: { type: "data", array: mine(course.error), color: colours.faint, thickness: 1, width: 2 } } : {}),
          customdata: mine(course.f), hovertemplate: `<b>${plain(name)}</b><br>t = %{x:.3g}<br>F = %{customdata:.6g}${decay ? "<br>above the last by %{y:.3g}" : ""}<extra></extra>`, ...more,
        });
      };
      // The exact curve is broad and lies below the others: what covers it is seen to.
      add("exact", "exact", view.curve, { mode: "lines", line: { color: `${colours.faint}77`, width: 8 } });
      if (!view.curve.t.length) add("exact", "exact", view.measured, { mode: "lines+markers", line: { color: `${colours.faint}77`, width: 8 }, marker: { color: colours.faint, size: 9 } });
      for (const series of view.series) {
        const [own, name] = [tint(problem.colours[series.label]), problem.labels[series.label]];
        add(series.label, name, series.steps, { mode: "lines", line: { color: own, width: 1.8, dash: dash(series.label) } });
        add(series.label, name, series.measured, { mode: "markers", marker: { color: own, size: 9, symbol: mark(series.label), line: { color: colours.paper, width: 1 } } });
      }
      const values = found.flatMap((trace) => trace.y);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const decades = low > 0 ? Math.log10(high / low) : 0;
      const upright = (decay && low > 0) || decades > 2 ? { type: "log", tickfont: { size: 10.5 }, dtick: decades > 9 ? 2 : decades > 1.2 ? 1 : "D2" } : {};
      caption.textContent = !decay ? "The broad line is exact." :
        `What is left above F = ${Number(view.last.toPrecision(6))}, ${view.curve.t.length || view.measured.t.length ? "the exact energy at the last time" : "the lowest energy reached"}. The broad line is exact; energies that lie below are left out.`;
      Plotly.react(box.querySelector(".plot"), found, layout(colours, {
        xaxis: axis(colours, { title: { text: "time t" }, rangemode: "tozero" }),
        yaxis: axis(colours, { title: { text: decay ? "F above the last exact one" : "free energy F", standoff: 8 }, ...upright }),
        uirevision: `${view.size} ${shown.select.value}`,
      }), settings);
    };
    return draw;
  };
})();
