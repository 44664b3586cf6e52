/* Draws of a fit beside exact ones, and the traces of a solver's steps. */
(() => {
  "use strict";
  const { plain, unique, dash, mark, tint, theme, settings, axis, layout, choice, kinds } = drawing;

  kinds.draws = (box, problem) => {
    const controls = box.querySelector(".controls");
    const views = problem.draws;
    const solver = choice(controls, "Solver", () => draw());
    const size = choice(controls, "Dimension", () => draw());
    const time = choice(controls, "Time", () => draw());
    const sizes = unique(views.map((view) => view.size));
    size.offer(sizes.map((value) => [value, `D = ${value}`]), sizes.at(-1));
    const draw = () => {
      const same = views.filter((view) => view.size === Number(size.select.value));
      time.offer(same.map((view) => [view.t, `t = ${view.t}`]), same.at(-1).t);
      const view = same.find((other) => other.t === Number(time.select.value));
      const series = view.series.filter((other) => problem.labels[other.label] !== "initial");
      solver.offer(view.series.map((other) => [other.label, problem.labels[other.label]]), (series[0] ?? view.series[0]).label);
      const fit = view.series.find((other) => other.label === Number(solver.select.value));
      const colours = theme();
      const all = [view.truth, fit];
      const range = ["x", "y"].map((name) => {
        const values = all.flatMap((points) => points[name]);
        const [low, high] = [Math.min(...values), Math.max(...values)];
        return [low - 0.05 * (high - low), high + 0.05 * (high - low)];
      });
      const names = view.names ?? (view.own ? ["first coordinate", "second coordinate"] :
        view.size === 2 ? ["x₁", "x₂"] : ["first principal axis", "second principal axis"]);
      const picture = layout(colours, {
        xaxis: axis(colours, { title: { text: names[0] }, range: range[0] }),
        yaxis: axis(colours, { title: { text: names[1] }, range: range[1], scaleanchor: "x" }),
        uirevision: `${view.size} ${view.t}`,
      });
      // Of an exact density the lines are the edges of the regions that hold 20, 50, 80, 95 and 99 % of it.
      const line = { type: "contour", ...view.contours, line: { color: colours.faint, width: 1 }, showscale: false, hoverinfo: "skip" };
      const lines = view.levels
        ? view.levels.map((value) => ({ ...line, contours: { type: "constraint", operation: "=", value } }))
        : [{ ...line, ncontours: 7, contours: { coloring: "none" } }];
      const dots = (points, colour, name) => ({
        type: "scatter", mode: "markers", x: points.x, y: points.y, marker: { color: colour, size: 4, opacity: 0.6 },
        hovertemplate: `${plain(name)}<br>(%{x:.3g}, %{y:.3g})<extra></extra>`,
      });
      const label = problem.labels[fit.label];
      Plotly.react(box.querySelector(".fit"), [...lines, dots(fit, tint(problem.colours[fit.label]), label)], picture, settings);
      Plotly.react(box.querySelector(".truth"), [...lines, dots(view.truth, colours.soft, "exact draws")], picture, settings);
      box.querySelector(".which").textContent = label;
      box.querySelector(".share").textContent = view.names ? `Two of the ${view.size} coordinates; lines: their exact density.` :
        view.exact ? "Lines: regions that hold 20, 50, 80, 95 and 99 % of the exact density." : view.size === 2 || view.own ? "" : `The plane of the truth's two principal axes holds ${(100 * view.share).toFixed(0)} % of its variance.`;
    };
    return draw;
  };

  kinds.steps = (box, problem) => {
    const controls = box.querySelector(".controls");
    const names = unique(problem.steps.map((view) => view.name));
    const name = choice(controls, "Per step", () => draw());
    const size = choice(controls, "Dimension", () => draw());
    name.offer(names.map((value) => [value, value]), names.includes("seconds") ? "seconds" : names[0]);
    const draw = () => {
      const same = problem.steps.filter((view) => view.name === name.select.value);
      size.offer(same.map((view) => [view.size, `D = ${view.size}`]), same.at(-1).size);
      const view = same.find((other) => other.size === Number(size.select.value));
      const colours = theme();
      const found = view.series.flatMap((series) => {
        const colour = tint(problem.colours[series.label]);
        const label = problem.labels[series.label];
        const common = { type: "scatter", x: series.step, legendgroup: label };
        const band = series.seeds < 2 ? [] : [
          { ...common, y: series.q25, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false },
          { ...common, y: series.q75, mode: "lines", line: { width: 0 }, fill: "tonexty", fillcolor: `${colour}33`, hoverinfo: "skip", showlegend: false },
        ];
        return [...band, {
          ...common, y: series.median, name: plain(label), mode: series.step.length > 1 ? "lines+markers" : "markers",
          line: { color: colour, width: 2, dash: dash(series.label) },
          marker: { color: colour, size: 5, symbol: mark(series.label), maxdisplayed: 24 },
          hovertemplate: `<b>${plain(label)}</b><br>step %{x}<br>%{y:.3g}<extra></extra>`,
        }];
      });
      const values = found.flatMap((trace) => trace.y).filter((value) => value !== null);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const upright = low > 0 && high > 100 * low ? { type: "log", tickfont: { size: 10.5 } } : { rangemode: low >= 0 ? "tozero" : "normal" };
      Plotly.react(box.querySelector(".plot"), found, layout(colours, {
        xaxis: axis(colours, { title: { text: "step" } }),
        yaxis: axis(colours, { title: { text: `${plain(view.name)} of a step`, standoff: 8 }, ...upright }),
        showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, uirevision: `${view.name} ${view.size}`,
      }), settings);
    };
    return draw;
  };
})();
