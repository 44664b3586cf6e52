/* Error over exact draws against cost: budgets of a method joined, what is not told from 0 in a band at the foot. */
(() => {
  "use strict";
  const { plain, unique, mark, tint, theme, settings, axis, layout, choice, legend, kinds } = drawing;
  const short = (value) => (value >= 1e-3 && value < 1e5 ? String(Number(value.toPrecision(3))) : value.toExponential(2));
  // Powers of ten, and between them twos and fives where there are few, within two bounds.
  const ticks = (low, high) => {
    const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
    const step = Math.max(1, Math.ceil((last - first) / 8));
    const found = [];
    for (let power = first; power <= last; power += 1) {
      for (const digit of last - first > 3 ? [1] : [1, 2, 5]) {
        const value = Number(`${digit}e${power}`);
        if (power % step === 0 && value >= low && value <= high) found.push([value, digit === 1 || power > -4 ? short(value) : ""]);
      }
    }
    return { tickmode: "array", tickvals: found.map(([value]) => value), ticktext: found.map(([, text]) => text) };
  };

  kinds.work = (box, problem) => {
    const controls = box.querySelector(".controls");
    const hidden = new Set();
    const cost = choice(controls, "Cost", () => draw());
    const metric = choice(controls, "Measure", () => draw());
    const size = choice(controls, "Dimension", () => draw());
    const of = (name, views) => unique(views.map((view) => view[name]));
    const draw = () => {
      cost.offer(of("cost", problem.work).map((name) => [name, name]));
      const paid = problem.work.filter((view) => view.cost === cost.select.value);
      metric.offer(of("metric", paid).map((name) => [name, name]));
      const measured = paid.filter((view) => view.metric === metric.select.value);
      size.offer(measured.map((view) => [view.size, `D = ${view.size}`]), measured.at(-1).size);
      const view = measured.find((other) => other.size === Number(size.select.value));
      const { points } = view;
      const all = points.label.map((_, index) => index).filter((index) => points.excess[index] !== null);
      const told = (index) => points.above[index] && points.excess[index] > 0;
      const above = all.filter(told).map((index) => points.excess[index]);
      const least = above.length ? Math.min(...above) : 1;
      const most = above.length ? Math.max(...above) : 1;
      // The band lies below whatever is told from 0, as far as a share of what that spans.
      const foot = least / Math.max(3, (most / least) ** 0.15);
      const edge = above.length ? Math.sqrt(foot * least) : 2 * foot;
      const height = (index) => (told(index) ? points.excess[index] : foot);
      const cheapest = (indices) => [...indices].sort((one, other) => points.cost[one] - points.cost[other]);
      const colours = theme();
      const colour = (index) => tint(problem.colours[points.label[index]]);
      const name = (index) => problem.labels[points.label[index]];
      legend(box, all.map((index) => ({ key: points.label[index], name: name(index), colour: colour(index), mark: mark(points.label[index]), dash: "solid" })),
        hidden, () => draw());
      const shown = all.filter((index) => !hidden.has(points.label[index]));
      const found = [];
      const front = cheapest(shown.filter((index) => points.front[index]));
      found.push({
        type: "scatter", name: "front", x: front.map((index) => points.cost[index]), y: front.map(height), mode: "lines",
        line: { shape: "hv", color: colours.faint, width: 1.6, dash: "dot" }, hoverinfo: "skip",
      });
      unique(shown.map((index) => points.line[index])).forEach((line) => {
        const own = cheapest(shown.filter((index) => points.line[index] === line));
        if (own.length < 2) return;
        found.push({
          type: "scatter", name: "budgets", x: own.map((index) => points.cost[index]), y: own.map(height), mode: "lines",
          line: { color: colour(own[0]), width: 1.8 }, hoverinfo: "skip",
        });
      });
      shown.forEach((index) => {
        const [x, y, error] = [points.cost[index], height(index), points.error[index]];
        const noisy = told(index) && error > 0;
        found.push({
          type: "scatter", name: plain(name(index)), x: [x], y: [y],
          mode: points.share[index] ? "markers+text" : "markers", text: [points.share[index]], textposition: "top right",
          textfont: { size: 11, color: colour(index) },
          marker: { color: colour(index), size: 9, symbol: mark(points.label[index]) + (told(index) ? "" : "-open"), line: { width: told(index) ? 0.8 : 1.8, color: told(index) ? colours.paper : colour(index) } },
          ...(noisy ? { error_y: { type: "data", symmetric: false, array: [error], arrayminus: [Math.min(error, 0.9 * y)], color: colour(index), thickness: 1, width: 2 } } : {}),
          hovertemplate: `<b>${plain(name(index))}</b><br>${points.excess[index] < 0 ? "−" : ""}${short(Math.abs(points.excess[index]))}${error === null ? "" : ` ± ${short(error)}`} over exact draws${told(index) ? "" : "<br>not told to be above its floor"}${points.share[index] ? `<br>answered ${points.share[index]}` : ""}<br>${short(x)} ${view.cost}<extra></extra>`,
        });
      });
      const errors = shown.map((index) => height(index) + (told(index) ? points.error[index] ?? 0 : 0));
      const top = 1.6 * Math.max(edge, ...errors);
      const costs = all.map((index) => points.cost[index]);
      const [left, right] = [Math.min(...costs) / 1.8, Math.max(...costs) * 1.8];
      const lost = points.label.length - all.length;
      box.querySelector("figcaption").textContent =
        `${view.metric} over exact draws, D = ${view.size}, t = ${view.t}, against ${view.cost}, medians; bars are standard errors. ` +
        "Dotted: the front, which no other solver beats in both. Open marks in the band are not told to be above exact draws." +
        (shown.some((index) => points.share[index]) ? " Marks with a count, such as 5/8, failed on the other runs: they are not on the front." : "") +
        (lost ? ` Not shown: ${lost} whose figure is infinite.` : "");
      Plotly.react(box.querySelector(".plot"), found.map((trace) => ({ showlegend: false, ...trace })), layout(colours, {
        xaxis: axis(colours, { type: "log", range: [Math.log10(left), Math.log10(right)], title: { text: view.cost }, ...ticks(left, right) }),
        yaxis: axis(colours, {
          type: "log", range: [Math.log10(foot / 2), Math.log10(top)], title: { text: `${plain(view.metric)} over exact draws`, standoff: 8 }, ...ticks(edge, top),
        }),
        shapes: [{ type: "rect", xref: "paper", x0: 0, x1: 1, y0: foot / 2, y1: edge, fillcolor: colours.faint, opacity: 0.13, line: { width: 0 }, layer: "below" }],
        annotations: [{ text: "at the floor", xref: "paper", x: 0.995, xanchor: "right", y: Math.log10(foot / 2), yanchor: "bottom", showarrow: false, font: { size: 11, color: colours.faint } }],
        uirevision: `${view.cost} ${view.metric} ${view.size}`,
      }), settings);
    };
    return draw;
  };
})();
