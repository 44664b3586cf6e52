/* What plots share: the look of axes, labelled choices, legends, and drawing the plots of one problem when first seen. */
const drawing = (() => {
  "use strict";
  const problems = JSON.parse(document.getElementById("plots").textContent);
  const make = (name, text, properties) =>
    Object.assign(document.createElement(name), text === undefined ? {} : { textContent: text }, properties);
  // Plotly reads some tags in the text of labels.
  const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const unique = (values) => Array.from(new Set(values));
  // Besides its colour a solver has a dash and a mark, so that it is told apart without colours too.
  const dash = (label) => ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"][label % 6];
  const mark = (label) => ["circle", "square", "triangle-up", "cross", "triangle-down", "diamond", "pentagon"][label % 7];
  // On black the darker shades of a hue are mixed with white, or they would be lost.
  const tint = (colour) => {
    const channels = [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
    const light = (0.3 * channels[0] + 0.59 * channels[1] + 0.11 * channels[2]) / 255;
    const white = matchMedia("(prefers-color-scheme: dark)").matches ? Math.max(0, 0.5 - light) / (1 - light) : 0;
    return `#${channels.map((channel) => Math.round(channel + white * (255 - channel)).toString(16).padStart(2, "0")).join("")}`;
  };
  const theme = () => {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(["ink", "soft", "line", "paper", "faint", "published"].map((name) =>
      [name, style.getPropertyValue(`--${name}`).trim()]));
  };
  const settings = {
    responsive: true, displaylogo: false, displayModeBar: "hover", showSendToCloud: false, plotlyServerURL: "",
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  };
  const axis = (colours, more) => ({
    gridcolor: colours.line, linecolor: colours.line, zeroline: false, automargin: true, ticks: "outside", tickcolor: colours.line,
    tickfont: { size: 13 }, exponentformat: "power", ...more,
  });
  const layout = (colours, more) => ({
    margin: { l: 64, r: 12, t: 12, b: 48 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
    font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: colours.soft }, hovermode: "closest",
    hoverlabel: { bgcolor: colours.paper, bordercolor: colours.line, font: { color: colours.ink, size: 12.5 }, align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colours.faint, activecolor: colours.ink }, ...more,
  });
  // A labelled choice; options of another choice's value are set anew by `offer`.
  const choice = (controls, name, changed) => {
    const label = make("label", name);
    const select = make("select");
    label.append(select);
    controls.append(label);
    select.addEventListener("change", changed);
    const offer = (options, preferred) => {
      const before = select.value;
      select.replaceChildren(...options.map(([value, text]) => make("option", text, { value })));
      const values = options.map(([value]) => String(value));
      select.value = values.includes(before) ? before : String(preferred ?? values[0]);
      label.hidden = options.length < 2;
    };
    return { select, offer };
  };

  // A legend of buttons that show and hide: dash and mark as in the plot, beside the name.
  const dashes = { solid: "none", dash: "6 3", dot: "2 2.5", dashdot: "6 2 2 2", longdash: "9 3", longdashdot: "9 2 2 2" };
  const marks = {
    circle: "M11 2.5a3.5 3.5 0 1 0 .01 0Z", square: "M8 3h6v6H8Z", "triangle-up": "M11 2 15 9.5H7Z", cross: "M10 2h2v3h3v2h-3v3h-2V7H7V5h3Z",
    "triangle-down": "M11 10 7 2.5h8Z", diamond: "M11 1.5 15 6 11 10.5 7 6Z", pentagon: "M11 2 15 5 13.5 9.5h-5L7 5Z",
  };
  // A picture for a legend: paths by their shapes, in one colour.
  const glyph = (colour, paths) => {
    const part = (name, attributes) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", name);
      Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
      return made;
    };
    const svg = part("svg", { "aria-hidden": "true", viewBox: "0 0 22 12" });
    svg.style.stroke = svg.style.fill = colour;
    svg.append(...paths.map(([d, attributes]) => part("path", { d, ...attributes })));
    return svg;
  };
  const legend = (box, entries, hidden, changed) => {
    const holder = box.querySelector(".legend");
    const focused = Array.from(holder.children).indexOf(document.activeElement);
    holder.replaceChildren(...entries.map((entry) => {
      const button = make("button", undefined, { type: "button", title: "Show or hide" });
      const line = { "stroke-width": 2, "stroke-dasharray": dashes[entry.dash ?? "solid"] };
      const paths = [entry.shaded ? ["M0 1H22V11H0Z", { stroke: "none", opacity: 0.5 }] : ["M0 6H22", line]];
      if (entry.mark) paths.push([marks[entry.mark], { stroke: "none" }]);
      button.setAttribute("aria-pressed", String(!hidden.has(entry.key)));
      button.append(glyph(entry.colour, paths), entry.name);
      button.addEventListener("click", () => {
        if (!hidden.delete(entry.key)) hidden.add(entry.key);
        changed();
      });
      return button;
    }));
    holder.children[focused]?.focus();
  };
  // Axes that several panels have in common show how a law spreads; where it spreads too far, each has its own.
  const common = (widths) => Math.max(...widths) <= 4 * Math.min(...widths);
  const frames = [["common", "the same at all times"], ["own", "own at each time"]];

  const kinds = {};
  const start = () => {
    const prepared = new Map();
    const watcher = new IntersectionObserver((seen) => seen.filter((entry) => entry.isIntersecting).forEach((entry) => {
      watcher.unobserve(entry.target);
      const problem = problems[Number(entry.target.closest(".problem").dataset.problem)];
      const draw = kinds[entry.target.dataset.kind](entry.target, problem);
      prepared.set(entry.target, draw);
      draw();
    }), { rootMargin: "200px" });
    document.querySelectorAll(".detail").forEach((box) => watcher.observe(box));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => prepared.forEach((draw) => draw()));
  };
  return {
    problems, make, plain, unique, dash, mark, tint, theme, settings, axis, layout, choice, glyph, legend, common, frames, kinds, start,
  };
})();
