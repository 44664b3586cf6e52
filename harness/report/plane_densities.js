/* Densities in the plane: a row for the truth and each solver, a column for each time, on one scale of colours. */
(() => {
  "use strict";
  const { make, tint, theme, choice, common, frames, kinds } = drawing;
  const MISSING = 65535, STEPS = 65534, PIXELS = [118, 220];
  // From the page's own paper to its ink: lightness alone tells the order, in the light and in the dark.
  const scales = {
    light: [[255, 255, 255], [218, 232, 243], [158, 200, 226], [86, 151, 200], [32, 92, 154], [8, 38, 84]],
    dark: [[17, 22, 28], [25, 50, 82], [35, 92, 138], [69, 143, 184], [143, 198, 216], [244, 250, 240]],
  };

  const unpacked = (packed) => {
    if (!packed) return null;
    const bytes = Uint8Array.from(atob(packed.z), (character) => character.charCodeAt(0));
    const steps = new Uint16Array(bytes.length / 2).map((_, index) => bytes[2 * index] + 256 * bytes[2 * index + 1]);
    const nodes = Math.round(Math.sqrt(steps.length));
    const values = Float64Array.from(steps, (step) => (step === MISSING ? NaN : (step / STEPS) * packed.peak));
    return { nodes, peak: packed.peak, at: (column, row) => values[row * nodes + column] };
  };
  // Between four nodes the value is bilinear; outside of the grid there is none.
  const between = (grid, box, x, y) => {
    const column = ((x - box[0]) / (box[2] - box[0])) * (grid.nodes - 1);
    const row = ((y - box[1]) / (box[3] - box[1])) * (grid.nodes - 1);
    if (column < 0 || row < 0 || column > grid.nodes - 1 || row > grid.nodes - 1) return NaN;
    const [i, j] = [Math.min(Math.floor(column), grid.nodes - 2), Math.min(Math.floor(row), grid.nodes - 2)];
    const [u, v] = [column - i, row - j];
    return (1 - v) * ((1 - u) * grid.at(i, j) + u * grid.at(i + 1, j)) + v * ((1 - u) * grid.at(i, j + 1) + u * grid.at(i + 1, j + 1));
  };
  const colour = (scale, share) => {
    const place = Math.min(1, Math.max(0, share)) * (scale.length - 1);
    const first = Math.min(Math.floor(place), scale.length - 2);
    return scale[first].map((channel, index) => Math.round(channel + (place - first) * (scale[first + 1][index] - channel)));
  };
  // Marching squares: each square of four nodes gives the pieces of the line on its edges.
  const contour = (context, grid, level, toPixel) => {
    context.beginPath();
    for (let j = 0; j < grid.nodes - 1; j += 1) {
      for (let i = 0; i < grid.nodes - 1; i += 1) {
        const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
        const heights = corners.map(([column, row]) => grid.at(column, row) - level);
        const cuts = [];
        for (let side = 0; side < 4; side += 1) {
          const [a, b] = [heights[side], heights[(side + 1) % 4]];
          if (a >= 0 === b >= 0 || Number.isNaN(a + b)) continue;
          const [from, to, share] = [corners[side], corners[(side + 1) % 4], a / (a - b)];
          cuts.push(toPixel(from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1])));
        }
        for (let cut = 0; cut + 1 < cuts.length; cut += 2) {
          context.moveTo(...cuts[cut]);
          context.lineTo(...cuts[cut + 1]);
        }
      }
    }
    context.stroke();
  };
  const short = (value) => (value === 0 ? "0" : Math.abs(value) >= 1e-3 && Math.abs(value) < 1e4 ? String(Number(value.toPrecision(3))) : value.toExponential(1));

  kinds.planes = (box, problem) => {
    const view = problem.planes;
    const table = box.querySelector(".planes-table");
    const reading = box.querySelector(".reading");
    const truth = view.truth.map(unpacked);
    const rows = [{ name: "exact", colour: null, grids: truth }, ...view.series.map((series) => ({
      name: problem.labels[series.label], colour: problem.colours[series.label], label: series.label, grids: series.density.map(unpacked) }))];
    const draws = (label, t) => problem.draws.find((other) => other.size === 2 && other.t === t)?.series.find((series) => series.label === label);
    const axes = choice(box.querySelector(".controls"), "Axes", () => draw());
    const widths = view.boxes.map(([left, low, right, high]) => Math.max(right - left, high - low));
    axes.offer(frames, common(widths) ? "common" : "own");
    axes.select.parentElement.hidden = view.t.length < 2;
    const frame = (index) => {
      if (axes.select.value === "own") return view.boxes[index];
      return [0, 1, 2, 3].map((side) => Math[side < 2 ? "min" : "max"](...view.boxes.map((one) => one[side])));
    };
    // Colours go by the root of the density, so that thin tails and compact edges are seen.
    const share = (value) => Math.sqrt(value / view.top);
    let size = PIXELS[0];
    const paint = (canvas, row, index) => {
      const [left, low, right, high] = frame(index);
      const colours = theme();
      const scale = matchMedia("(prefers-color-scheme: dark)").matches ? scales.dark : scales.light;
      const sharp = Math.min(2, window.devicePixelRatio || 1) * size;
      const ratio = Math.min(1.6, Math.max(0.6, (high - low) / (right - left)));
      canvas.width = Math.round(sharp);
      canvas.height = Math.round(sharp * ratio);
      canvas.style.width = `${size}px`;
      canvas.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
      const context = canvas.getContext("2d");
      const [width, height] = [canvas.width, canvas.height];
      const grid = row.grids[index];
      const pixel = (x, y) => [((x - left) / (right - left)) * width, (1 - (y - low) / (high - low)) * height];
      context.fillStyle = `rgb(${scale[0]})`;
      context.fillRect(0, 0, width, height);
      const box = view.boxes[index];
      const nodes = (other) => (column, line) => pixel(box[0] + (column / (other.nodes - 1)) * (box[2] - box[0]), box[1] + (line / (other.nodes - 1)) * (box[3] - box[1]));
      if (grid) {
        const image = context.createImageData(width, height);
        for (let y = 0; y < height; y += 1) {
          for (let x = 0; x < width; x += 1) {
            const value = between(grid, box, left + ((x + 0.5) / width) * (right - left), high - ((y + 0.5) / height) * (high - low));
            image.data.set([...colour(scale, Number.isNaN(value) ? 0 : share(value)), 255], 4 * (y * width + x));
          }
        }
        context.putImageData(image, 0, 0);
      }
      // In common axes a grid may end within the panel: what lies beyond is not known to be empty.
      const [corner, opposite] = [pixel(box[0], box[3]), pixel(box[2], box[1])];
      context.lineWidth = 1;
      context.setLineDash([1, 3]);
      context.strokeStyle = colours.faint;
      context.strokeRect(corner[0], corner[1], opposite[0] - corner[0], opposite[1] - corner[1]);
      context.lineWidth = Math.max(1, sharp / 190);
      view.levels[index].forEach((level) => {
        const over = share(level) > 0.55;
        context.setLineDash(grid ? [] : [3, 3]);
        context.strokeStyle = grid ? (over ? `rgb(${scale[0]})` : colours.soft) : colours.faint;
        contour(context, grid ?? truth[index], level, nodes(grid ?? truth[index]));
      });
      const points = grid || row.label === undefined ? null : draws(row.label, view.t[index]);
      if (points) {
        context.fillStyle = tint(row.colour);
        context.globalAlpha = 0.75;
        points.x.forEach((x, place) => context.fillRect(pixel(x, 0)[0] - sharp / 150, pixel(0, points.y[place])[1] - sharp / 150, sharp / 75, sharp / 75));
        context.globalAlpha = 1;
      }
    };
    const say = (event, row, index) => {
      const [left, low, right, high] = frame(index);
      const place = event.currentTarget.getBoundingClientRect();
      const x = left + ((event.clientX - place.left) / place.width) * (right - left);
      const y = high - ((event.clientY - place.top) / place.height) * (high - low);
      const value = (grid) => { const found = grid ? between(grid, view.boxes[index], x, y) : NaN; return Number.isNaN(found) ? "–" : short(found); };
      reading.textContent = `t = ${view.t[index]}, x₁ = ${short(x)}, x₂ = ${short(y)}: exact ${value(truth[index])}` +
        (row.label === undefined ? "" : `, ${row.name} ${row.grids[index] ? value(row.grids[index]) : "has draws, no density"}`);
    };
    const span = (from, to) => `${short(from)} … ${short(to)}`;
    let canvases = [];
    const build = () => {
      const grid = make("table");
      const head = grid.createTHead().insertRow();
      head.append(make("th", "", { scope: "col" }));
      view.t.forEach((t) => head.append(make("th", `t = ${t}`, { scope: "col" })));
      const body = grid.createTBody();
      canvases = rows.flatMap((row) => {
        const line = body.insertRow();
        const name = make("th", row.name, { scope: "row" });
        line.append(name);
        if (row.label !== undefined && row.grids.every((one) => one === null)) name.append(make("small", "draws, over the lines of the exact density"));
        return view.t.map((t, index) => {
          const canvas = make("canvas");
          canvas.setAttribute("role", "img");
          canvas.addEventListener("pointermove", (event) => say(event, row, index));
          line.insertCell().append(canvas);
          return [canvas, row, index];
        });
      });
      const foot = grid.createTFoot().insertRow();
      foot.append(make("th", "x₁, x₂ from … to", { scope: "row" }));
      view.t.forEach(() => foot.insertCell());
      table.replaceChildren(grid);
    };
    const bar = () => {
      const canvas = box.querySelector(".scale canvas");
      [canvas.width, canvas.height] = [256, 1];
      const scale = matchMedia("(prefers-color-scheme: dark)").matches ? scales.dark : scales.light;
      const context = canvas.getContext("2d");
      for (let x = 0; x < 256; x += 1) {
        context.fillStyle = `rgb(${colour(scale, x / 255)})`;
        context.fillRect(x, 0, 1, 1);
      }
      const ticks = [0, 0.0625, 0.25, 0.5625, 1].map((part) => make("span", short(part * view.top) + (part === 1 ? " and more" : "")));
      box.querySelector(".ticks").replaceChildren(...ticks);
    };
    // As wide as the page allows, within bounds; where it is narrow the table is scrolled.
    const fitting = () => Math.round(Math.min(PIXELS[1], Math.max(PIXELS[0], (box.clientWidth - 220) / view.t.length - 12)));
    new ResizeObserver(() => canvases.length && Math.abs(fitting() - size) > 8 && draw()).observe(box);
    const draw = () => {
      if (!canvases.length) build();
      size = fitting();
      bar();
      canvases.forEach(([canvas, row, index]) => {
        paint(canvas, row, index);
        const grid = row.grids[index];
        const peak = grid ? `highest density ${short(grid.peak)}` : "draws";
        canvas.setAttribute("aria-label", `${row.name} at t = ${view.t[index]}: ${peak}`);
      });
      Array.from(table.querySelectorAll("tfoot td")).forEach((cell, index) => {
        const [left, low, right, high] = frame(index);
        cell.replaceChildren(make("span", span(left, right)), make("span", span(low, high)));
      });
    };
    return draw;
  };
})();
