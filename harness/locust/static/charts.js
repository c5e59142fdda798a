// Charts of a run while it lasts: SVG, drawn anew each second.
//
//   new charts.Chart(title, note)     a figure; `figure` goes into the page, `draw(spec)` shows what there is now
//   timeAxis, linearScale, logScale   what a spec is made of
const charts = (function () {
  "use strict";
  const { count, make, shape, significant, table } = elements;

  function niceSteps(from, to, about) {
    const raw = (to - from) / about || 1;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw);
    const steps = [];
    for (let at = Math.ceil(from / step - 1e-9); at * step <= to + step * 1e-9; at++) steps.push(at * step + 0);
    return steps;
  }
  // Scale of the y axis: {of(value) from 0 to 1, ticks}.
  function linearScale(values) {
    const highest = Math.max(...values) || 1;
    const ticks = niceSteps(0, highest, 4);
    if (ticks[ticks.length - 1] < highest) ticks.push(ticks[ticks.length - 1] + ticks[1] - ticks[0]);
    const top = ticks[ticks.length - 1];
    return { of: (value) => value / top, ticks };
  }
  function logScale(values) {
    const low = Math.floor(Math.log10(Math.max(1, Math.min(...values))));
    const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(1, ...values))));
    const ticks = [];
    for (let at = low; at <= high; at++) {
      ticks.push(10 ** at);
      if (high - low < 3 && at < high) ticks.push(2 * 10 ** at, 5 * 10 ** at);
    }
    return { of: (value) => (Math.log10(Math.max(1, value)) - low) / (high - low), ticks };
  }
  const bound = (values, fold, start) => values.reduce((a, b) => fold(a, b), start);

  // No more points than pixels: of each pixel's, the lowest and the highest, in their order.
  function forPixels(points, pixels) {
    if (points.length <= 2 * pixels) return points;
    const width = Math.ceil(points.length / pixels);
    const kept = [];
    for (let at = 0; at < points.length; at += width) {
      const some = points.slice(at, at + width).filter((point) => point[1] !== null);
      if (!some.length) {
        kept.push(points[at]);
        continue;
      }
      const lowest = some.reduce((a, b) => (b[1] < a[1] ? b : a));
      const highest = some.reduce((a, b) => (b[1] > a[1] ? b : a));
      kept.push(...(lowest[0] < highest[0] ? [lowest, highest] : [highest, lowest]));
    }
    return kept;
  }
  function nearest(points, x) {
    let low = 0;
    let high = points.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (points[middle][0] < x) low = middle;
      else high = middle;
    }
    if (high < 0) return null;
    return Math.abs(points[low][0] - x) <= Math.abs(points[high][0] - x) ? points[low] : points[high];
  }

  // A figure with a chart, its legend and its table. `draw` takes
  //   lines    [{name, colour, dash, points: [[x, y or null]...]}]      format   of a y
  //   scale    linearScale or logScale                                    xAxis    {from, to, ticks: [[x, text]], title, format}
  //   yTitle   with the unit                                              faults, marks   or none; gap: no line over so much x
  //   table    () => [head, rows]
  class Chart {
    constructor(title, note) {
      this.title = title;
      this.heading = make("h3", title);
      this.legend = make("div", undefined, "legend");
      this.plot = make("div", undefined, "plot");
      this.plot.tabIndex = 0;
      this.plot.setAttribute("role", "group");
      this.details = make("details");
      this.numbers = make("div");
      this.tip = make("div", undefined, "tip");
      this.tip.hidden = true;
      this.drawn = null;
      this.pointer = null;
      const caption = make("figcaption");
      caption.append(this.heading, make("p", note), this.legend);
      this.details.append(make("summary", "As a table"), this.numbers);
      this.figure = make("figure");
      this.figure.append(caption, this.plot, this.details);
      this.listen();
    }

    listen() {
      this.details.addEventListener("toggle", () => this.drawn && this.fillTable());
      this.plot.addEventListener("pointermove", (event) => {
        if (!this.drawn) return;
        this.tip.setAttribute("aria-live", "off");
        this.point(this.drawn.xAt(event.clientX - this.plot.getBoundingClientRect().left));
      });
      this.plot.addEventListener("pointerleave", () => this.point(null));
      this.plot.addEventListener("blur", () => this.point(null));
      this.plot.addEventListener("keydown", (event) => this.step(event));
    }

    step(event) {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!this.drawn || (!step && event.key !== "Escape")) return;
      event.preventDefault();
      this.tip.setAttribute("aria-live", "polite");
      const { from, to, step: width = (to - from) / 60 } = this.drawn.spec.xAxis;
      if (!step) this.point(null);
      else if (this.pointer === null) this.point(step > 0 ? from : to);
      else this.point(Math.min(to, Math.max(from, this.pointer + step * width)));
    }

    fillTable() {
      if (this.details.open) this.numbers.replaceChildren(table(...this.drawn.spec.table()));
    }

    // Show what is nearest to an x; null: nothing.
    point(pointer) {
      this.pointer = pointer;
      this.plot.querySelector(".rule")?.remove();
      const near = this.near();
      this.tip.hidden = !near.length;
      if (!near.length) return;
      const { x, size } = this.drawn;
      const at = near[0][1][0];
      this.plot.querySelector("svg").append(this.rule(at, near));
      this.fillTip(at, near);
      const left = x(at) + 12;
      this.tip.style.left = (left + this.tip.offsetWidth > size.width ? x(at) - 12 - this.tip.offsetWidth : left) + "px";
    }

    // The point of each line that is nearest to the pointer.
    near() {
      if (this.pointer === null || !this.drawn) return [];
      const { lines, gap = Infinity } = this.drawn.spec;
      const found = lines.map((line) => [line, nearest(line.points, this.pointer)]);
      return found.filter(([, at]) => at && Math.abs(at[0] - this.pointer) <= gap);
    }

    rule(at, near) {
      const { x, y, size } = this.drawn;
      const rule = shape("g", { class: "rule" });
      rule.append(shape("line", { x1: x(at), x2: x(at), y1: size.top, y2: size.bottom, stroke: "var(--quiet)", "stroke-width": 1 }));
      for (const [line, value] of near) {
        if (value[1] !== null) rule.append(shape("circle", { cx: x(value[0]), cy: y(value[1]), r: 3, fill: line.colour }));
      }
      return rule;
    }

    fillTip(at, near) {
      const { spec } = this.drawn;
      const rows = near.map(([line, value]) => [line.name, value[1] === null ? "no answer" : spec.format(value[1])]);
      for (const fault of spec.faults || []) {
        if (fault.start_s <= at && (fault.end_s === null || at <= fault.end_s)) rows.push(["fault", fault.name + " " + fault.target]);
      }
      this.tip.replaceChildren(make("b", spec.xAxis.format(at)), ...rows.map((words) => {
        const row = make("div");
        row.append(...words.map((text) => make("span", text)));
        return row;
      }));
    }

    draw(spec) {
      const width = Math.max(320, this.plot.clientWidth);
      const size = { width, height: 250, left: 66, right: width - 14, top: 24, bottom: 208 };
      const svg = shape("svg", { viewBox: `0 0 ${width} ${size.height}`, height: size.height, role: "img", "aria-label": summary(spec) });
      const values = spec.lines.flatMap((line) => line.points.map((at) => at[1])).filter((value) => value !== null);
      const scale = spec.scale([bound(values, Math.min, Infinity), bound(values, Math.max, 0)].filter(Number.isFinite));
      const { from, to } = spec.xAxis;
      const x = (value) => size.left + ((value - from) / (to - from || 1)) * (size.right - size.left);
      const y = (value) => size.bottom - scale.of(value) * (size.bottom - size.top);
      this.drawn = { spec, x, y, size, xAt: (px) => from + ((px - size.left) / (size.right - size.left)) * (to - from) };
      shade(svg, this.drawn);
      drawAxes(svg, this.drawn, values.length ? scale.ticks : []);
      for (const line of spec.lines) svg.append(...traced(line, this.drawn));
      if (!values.length) {
        svg.append(shape("text", { class: "none", x: (size.left + size.right) / 2, y: 120, "text-anchor": "middle" }, spec.none || "nothing measured yet"));
      }
      this.plot.replaceChildren(svg, this.tip);
      this.plot.setAttribute("aria-label", this.title + "; the arrow keys read values");
      this.legend.replaceChildren(...spec.lines.map(key));
      this.fillTable();
      this.point(this.pointer);
    }
  }
  function drawAxes(svg, { spec, x, y, size }, ticks) {
    // Of events there are no halves.
    for (const tick of spec.format === count ? ticks.filter(Number.isInteger) : ticks) {
      svg.append(shape("line", { x1: size.left, x2: size.right, y1: y(tick), y2: y(tick), stroke: "var(--grid)" }));
      svg.append(shape("text", { x: size.left - 8, y: y(tick) + 4, "text-anchor": "end" }, spec.format(tick)));
    }
    for (const [value, text] of spec.xAxis.ticks) {
      svg.append(shape("line", { x1: x(value), x2: x(value), y1: size.bottom, y2: size.bottom + 4, stroke: "var(--line)" }));
      svg.append(shape("text", { x: x(value), y: size.bottom + 18, "text-anchor": "middle" }, text));
    }
    svg.append(shape("line", { x1: size.left, x2: size.right, y1: size.bottom, y2: size.bottom, stroke: "var(--line)" }));
    svg.append(shape("text", { x: size.right, y: size.height - 6, "text-anchor": "end" }, spec.xAxis.title));
    svg.append(shape("text", { x: 0, y: 12 }, spec.yTitle));
  }
  function summary(spec) {
    const last = spec.lines.map((line) => {
      const known = line.points.filter((at) => at[1] !== null);
      return line.name + ": " + (known.length ? spec.format(known[known.length - 1][1]) : "nothing yet");
    });
    return spec.yTitle + ". Last: " + last.join(", ");
  }
  function shade(svg, { spec, x, size }) {
    let before = -Infinity;
    let row = 0;
    for (const fault of spec.faults || []) {
      const end = fault.end_s === null ? store.page.live.now_s : fault.end_s;
      const [left, right] = [x(fault.start_s), x(Math.min(end, spec.xAxis.to))];
      const text = fault.name + " " + fault.target + (fault.end_s === null ? " (open)" : "");
      row = left - before < text.length * 7 ? (row + 1) % 3 : 0;
      before = left;
      const group = shape("g", { class: "fault", "data-fault": fault.name, "data-open": fault.end_s === null });
      group.append(shape("rect", { x: left, y: size.top, width: Math.max(2, right - left), height: size.bottom - size.top, fill: "var(--fault)" }));
      const fits = left + text.length * 7 < size.right;
      group.append(shape("text", { class: "fault-name", x: fits ? left + 5 : size.right - 2, y: size.top + 14 + 15 * row, "text-anchor": fits ? "start" : "end" }, text));
      svg.append(group);
    }
    for (const mark of (spec.marks || []).filter((each) => each.name !== "restart")) {
      const at = x(mark.t_s);
      const fits = at + mark.name.length * 7 < size.right;
      svg.append(shape("line", { x1: at, x2: at, y1: size.top, y2: size.bottom, stroke: "var(--mark)", "stroke-dasharray": "3 3" }));
      svg.append(shape("text", { class: "mark-name", x: fits ? at + 4 : at - 4, y: size.bottom - 6, "text-anchor": fits ? "start" : "end" }, mark.name));
    }
  }
  function traced(line, { spec, x, y, size }) {
    const points = forPixels(line.points.filter((at) => at[0] >= spec.xAxis.from), size.right - size.left);
    const apart = points.length > 1 ? (points[points.length - 1][0] - points[0][0]) / points.length : 0;
    const gap = Math.max(spec.gap || Infinity, 4 * apart);
    let path = "";
    let before = null;
    for (const [at, value] of points) {
      if (value === null) {
        before = null;
        continue;
      }
      const isNew = before === null || at - before > gap;
      path += (isNew ? "M" : "L") + x(at).toFixed(1) + " " + y(value).toFixed(1) + (isNew ? "h0.01" : "");
      before = at;
    }
    const stroke = { d: path, fill: "none", stroke: line.colour, "stroke-width": 2, "stroke-linejoin": "round", "stroke-linecap": "round" };
    if (line.dash) Object.assign(stroke, { "stroke-dasharray": line.dash, "stroke-width": 1.5, "stroke-linecap": "butt" });
    const dots = spec.dots ? points.filter((at) => at[1] !== null).map((at) => shape("circle", { cx: x(at[0]), cy: y(at[1]), r: 3.5, fill: line.colour })) : [];
    return [shape("path", stroke), ...dots];
  }
  function key(line) {
    const made = make("span");
    const sample = shape("svg", { width: 22, height: 8, "aria-hidden": "true" });
    sample.append(shape("line", { x1: 0, x2: 22, y1: 4, y2: 4, stroke: line.colour, "stroke-width": 2, "stroke-dasharray": line.dash || "none" }));
    made.append(sample, line.name);
    return made;
  }
  function timeAxis() {
    const to = store.lastTime();
    const ticks = niceSteps(0, to, 8).map((at) => [at, significant(at, 4)]);
    return { from: 0, to, ticks, title: "seconds since the first event was due", format: (at) => significant(at, 4) + " s" };
  }
  // The last minute of some lines, second by second, each the highest that was seen in it.
  function lastMinute(lines, format) {
    const rows = new Map();
    lines.forEach((line, column) => {
      for (const [t, value] of line.points.slice(-600)) {
        const second = Math.floor(t);
        if (!rows.has(second)) rows.set(second, lines.map(() => null));
        const row = rows.get(second);
        if (value !== null && (row[column] === null || value > row[column])) row[column] = value;
      }
    });
    const shown = [...rows.entries()].sort((a, b) => b[0] - a[0]).slice(0, 60);
    return [
      ["second", ...lines.map((line) => line.name)],
      shown.map(([second, row]) => [String(second), ...row.map((value) => (value === null ? "–" : format(value)))]),
    ];
  }

  return { Chart, linearScale, logScale, timeAxis, lastMinute };
})();
