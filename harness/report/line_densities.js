/* Densities on the line, times side by side, each over the exact one. */
(() => {
  "use strict";
  const { plain, dash, tint, theme, settings, axis, layout, choice, legend, common, frames, kinds } = drawing;
  const WIDTH = 300, HEIGHT = 230;

  kinds.densities = (box, problem) => {
    const views = problem.densities;
    const plot = box.querySelector(".plot");
    const ends = views.map((view) => [view.truth.x[0], view.truth.x.at(-1)]);
    const tops = views.map((view) => Math.max(...view.truth.y));
    const hidden = new Set();
    const axes = choice(box.querySelector(".controls"), "Axes", () => draw());
    axes.offer(frames, common(ends.map(([low, high]) => high - low)) && common(tops) ? "common" : "own");
    axes.select.parentElement.hidden = views.length < 2;
    const labels = Array.from(new Set(views.flatMap((view) => view.series.map((series) => series.label)))).sort((a, b) => a - b);
    const columns = () => Math.max(1, Math.min(views.length, Math.floor(box.clientWidth / WIDTH), 4));
    let drawnColumns = 0;
    const draw = () => {
      legend(box, [
        { key: "exact", name: "exact", colour: "var(--faint)", shaded: true },
        ...labels.map((label) => ({ key: label, name: problem.labels[label], colour: tint(problem.colours[label]), dash: dash(label) })),
      ], hidden, () => draw());
      drawnColumns = columns();
      const across = Math.ceil(views.length / Math.ceil(views.length / drawnColumns));
      const down = Math.ceil(views.length / across);
      const colours = theme();
      const found = [];
      const [gapX, gapY] = [56 / Math.max(box.clientWidth, 1), 62 / (down * HEIGHT)];
      const picture = layout(colours, { annotations: [], margin: { l: 52, r: 12, t: 26, b: 46 }, uirevision: axes.select.value });
      views.forEach((view, index) => {
        const name = index ? String(index + 1) : "";
        const [row, column] = [Math.floor(index / across), index % across];
        const together = axes.select.value === "common";
        const range = together ? [Math.min(...ends.map((end) => end[0])), Math.max(...ends.map((end) => end[1]))] : ends[index];
        // The exact density decides the height: a fit that has collapsed would flatten every other.
        const top = 1.25 * (together ? Math.max(...tops) : tops[index]);
        const [width, height] = [(1 - (across - 1) * gapX) / across, (1 - (down - 1) * gapY) / down];
        const [left, low] = [column * (width + gapX), 1 - row * (height + gapY) - height];
        picture[`xaxis${name}`] = axis(colours, { domain: [left, left + width], anchor: `y${name}`, range, nticks: 6, tickfont: { size: 12 },
          title: { text: "x", standoff: 4 }, automargin: false });
        picture[`yaxis${name}`] = axis(colours, { domain: [low, low + height], anchor: `x${name}`, range: [0, top], nticks: 5, tickfont: { size: 12 },
          title: { text: column ? "" : "density", standoff: 6 }, automargin: column === 0 });
        picture.annotations.push({ text: `t = ${view.t}`, x: left, y: low + height, xref: "paper", yref: "paper", xanchor: "left",
          yanchor: "bottom", showarrow: false, font: { color: colours.ink, size: 13 } });
        const curve = (points, label, more) => ({
          type: "scatter", mode: "lines", x: points.x, y: points.y, name: plain(label), xaxis: `x${name}`, yaxis: `y${name}`,
          hovertemplate: `<b>${plain(label)}</b><br>t = ${view.t}, x = %{x:.3g}<br>density %{y:.3g}<extra></extra>`, ...more,
        });
        found.push({ ...curve(view.truth, "exact", { fill: "tozeroy", fillcolor: `${colours.faint}55`, line: { color: colours.faint, width: 1 } }),
                     visible: !hidden.has("exact") });
        for (const series of view.series) {
          const line = { color: tint(problem.colours[series.label]), width: 1.8, dash: dash(series.label) };
          found.push({ ...curve(series, problem.labels[series.label], { line }), visible: !hidden.has(series.label) });
        }
      });
      plot.style.height = `${down * HEIGHT + 40}px`;
      Plotly.react(plot, found, picture, settings);
    };
    new ResizeObserver(() => drawnColumns && columns() !== drawnColumns && draw()).observe(box);
    return draw;
  };
})();
