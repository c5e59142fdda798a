// The page's own script: draws each chart, and joins the charts of a run.
//
// A run has one span of time, one pointer and one set of hidden series. They live here, and are sent to all
// of its charts as the signals `from`, `to`, `at` and `hidden`. Text is only ever set as textContent.
// When all charts are drawn, <html data-charts="drawn"> says so (or "broken", where one could not be).
(function () {
  "use strict";
  const tip = document.getElementById("tip");

  const { clock, grouped, percentile, quantity } = quantities;

  function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  // --- what hovers -----------------------------------------------------------------------------------------

  function showTip(heading, lines, x, y) {
    tip.replaceChildren(element("b", heading));
    for (const [name, value, color] of lines) {
      const line = element("div");
      const label = element("span");
      if (color) {
        const swatch = element("i");
        swatch.style.background = color;
        label.append(swatch);
      }
      label.append(name);
      line.append(label, element("span", value));
      tip.append(line);
    }
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = x + 16 + box.width > innerWidth ? x - 16 - box.width : x + 16;
    tip.style.left = Math.max(4, left) + "px";
    tip.style.top = Math.max(4, Math.min(y + 12, innerHeight - box.height - 4)) + "px";
  }
  function hideTip() {
    tip.hidden = true;
  }

  // --- a chart ---------------------------------------------------------------------------------------------

  class Chart {
    constructor(told, run) {
      this.told = told;
      this.run = run;
      this.place = document.querySelector(`[data-chart="${told.id}"]`);
      this.figure = this.place.closest("figure");
      this.along = told.timed ? "t" : "x";
      this.objects = told.rows.map((row) => {
        const made = {};
        told.fields.forEach((field, n) => { if (row[n] !== null || field === "v") made[field] = row[n]; });
        return made;
      });
      this.colors = new Map(told.series.map((s) => [s.name, s.color]));
    }

    async draw(config) {
      const spec = { ...this.told.spec, datasets: { rows: this.objects }, description: this.told.title };
      const options = {
        mode: "vega-lite", renderer: "svg", actions: false, ast: true, config, logLevel: 1, // errors only
        tooltip: (_, event, item, value) => this.overItem(event, value),
      };
      this.view = (await vegaEmbed(this.place, spec, options)).view;
      this.place.addEventListener("pointerleave", () => { hideTip(); this.run.point(null); });
      if (this.told.hover === "series") this.place.addEventListener("pointermove", (e) => this.overSeries(e));
      if (this.told.timed) this.bindZoom();
    }

    // Where a pointer is, in the units of the x axis; null beside the plot.
    valueAt(clientX) {
      const x = clientX - this.place.querySelector("svg").getBoundingClientRect().left - this.view.origin()[0];
      return x < -3 || x > this.view.width() + 3 ? null : this.view.scale("x").invert(x);
    }

    abscissas() {
      this.sorted ??= [...new Set(this.objects.map((row) => row[this.along]))].sort((a, b) => a - b);
      return this.sorted;
    }

    nearest(value) {
      const all = this.abscissas();
      let low = 0;
      let high = all.length - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (all[middle] < value) low = middle + 1; else high = middle;
      }
      return low > 0 && value - all[low - 1] < all[low] - value ? all[low - 1] : all[low];
    }

    linesAt(value) {
      const reach = this.told.timed ? (this.run.to - this.run.from) / 100 : 0;
      const best = new Map();
      for (const row of this.objects) {
        const away = Math.abs(row[this.along] - value);
        const key = JSON.stringify([row.s, row.k]);
        if (away > reach || this.run.hidden.has(row.s) || this.run.hidden.has(row.k)) continue;
        if (!best.has(key) || away < best.get(key)[0]) best.set(key, [away, row]);
      }
      return [...best.values()].map(([, row]) => [
        this.name(row), quantity(row.v, this.told.unit), this.colors.get(row.s),
      ]);
    }

    name(row) {
      return row.k && row.k !== "age" ? row.s + ", " + row.k : row.s;
    }

    headingAt(value) {
      if (this.told.timed) return clock(value);
      if (this.told.along === "restart") return clock(value) + " after the restart";
      if (this.told.along === "rate") return quantity(value, "1/s");
      if (this.told.along === "load") return clock(value) + " into the load";
      return this.told.along === "percentile" ? percentile(value) : grouped(value) + " events";
    }

    overSeries(event) {
      const value = this.valueAt(event.clientX);
      if (value === null || !this.objects.length) { hideTip(); return; }
      const at = this.nearest(value);
      if (this.told.timed) this.run.point(at);
      showTip(this.headingAt(at), this.linesAt(at), event.clientX, event.clientY);
    }

    overItem(event, value) {
      if (this.told.hover === "series") return;
      if (!value) { hideTip(); return; }
      if (this.told.hover === "cell") {
        const band = quantity(value.v, "µs") + " to " + quantity(value.e, "µs");
        const span = clock(value.t) + " to " + clock(value.end);
        showTip(span, [["response", band], ["operations", grouped(value.n)]], event.clientX, event.clientY);
      } else {
        showTip(value.label, [[value.text, ""]], event.clientX, event.clientY);
      }
    }

    // --- zoom: drag, Ctrl + wheel (plain wheel once the chart has the focus), double click, keys

    bindZoom() {
      let start = null;
      const shade = element("div", undefined, "selection");
      const svg = () => this.place.querySelector("svg").getBoundingClientRect();
      this.place.addEventListener("pointerdown", (event) => {
        if (event.button === 0 && this.valueAt(event.clientX) !== null) start = event.clientX;
      });
      this.place.addEventListener("pointermove", (event) => {
        if (start === null || Math.abs(event.clientX - start) < 5) return;
        this.place.setPointerCapture(event.pointerId);
        const box = this.place.getBoundingClientRect();
        shade.style.left = Math.min(start, event.clientX) - box.left + "px";
        shade.style.width = Math.abs(event.clientX - start) + "px";
        shade.style.top = svg().top - box.top + this.view.origin()[1] + "px";
        shade.style.height = this.view.height() + "px";
        this.place.append(shade);
      });
      this.place.addEventListener("pointerup", (event) => {
        shade.remove();
        if (start !== null && Math.abs(event.clientX - start) >= 5) {
          const ends = [start, event.clientX].map((x) => this.clamped(x)).sort((a, b) => a - b);
          this.run.zoom(...ends);
        }
        start = null;
      });
      this.place.addEventListener("pointercancel", () => { shade.remove(); start = null; });
      this.place.addEventListener("dblclick", () => this.run.reset());
      this.place.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
      this.place.addEventListener("keydown", (event) => this.onKey(event));
    }

    clamped(clientX) {
      const left = this.place.querySelector("svg").getBoundingClientRect().left + this.view.origin()[0];
      return this.view.scale("x").invert(Math.max(0, Math.min(this.view.width(), clientX - left)));
    }

    onWheel(event) {
      const focused = document.activeElement === this.place;
      const at = this.valueAt(event.clientX);
      if (at === null || !(event.ctrlKey || event.metaKey || (focused && !event.shiftKey))) return;
      if (event.deltaY > 0 && this.run.isWhole() && !event.ctrlKey) return;
      event.preventDefault();
      this.run.scale(at, event.deltaY > 0 ? 1.25 : 0.8);
    }

    onKey(event) {
      const { run } = this;
      const middle = run.at ?? (run.from + run.to) / 2;
      const side = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "+" || event.key === "=") run.scale(middle, 0.6);
      else if (event.key === "-") run.scale(middle, 1 / 0.6);
      else if (event.key === "0" || event.key === "Escape") { hideTip(); run.reset(); }
      else if (side && event.shiftKey) run.pan(side * 0.2);
      else if (side) this.step(side);
      else return;
      event.preventDefault();
    }

    // Move the pointer by a point, and read out what is there.
    step(side) {
      const inside = this.abscissas().filter((t) => t >= this.run.from && t <= this.run.to);
      if (!inside.length) return;
      const now = inside.indexOf(this.run.at === null ? NaN : this.nearest(this.run.at));
      const next = now < 0 ? (side > 0 ? 0 : inside.length - 1) : now + side;
      const at = inside[Math.max(0, Math.min(inside.length - 1, next))];
      this.run.point(at);
      const box = this.place.querySelector("svg").getBoundingClientRect();
      const x = box.left + this.view.origin()[0] + this.view.scale("x")(at);
      if (this.told.hover === "series") showTip(this.headingAt(at), this.linesAt(at), x, box.top + 20);
    }

    // --- the table behind the chart

    fill(table) {
      const [header, rows] = this.told.hover === "cell" ? this.cellTable() : this.seriesTable();
      const top = element("tr");
      header.forEach((text, n) => {
        const cell = element("th", text, n ? "n" : "");
        cell.scope = "col";
        top.append(cell);
      });
      const body = element("tbody");
      for (const row of rows) {
        const line = element("tr");
        row.forEach((text, n) => line.append(element(n ? "td" : "th", text, n ? "n" : "")));
        line.firstChild.scope = "row";
        body.append(line);
      }
      const head = element("thead");
      head.append(top);
      table.replaceChildren(head, body);
    }

    seriesTable() {
      const names = [...new Set(this.objects.map((row) => this.name(row)))];
      const byTime = new Map();
      for (const row of this.objects) {
        if (!byTime.has(row[this.along])) byTime.set(row[this.along], new Map());
        byTime.get(row[this.along]).set(this.name(row), quantity(row.v, this.told.unit));
      }
      const rows = this.abscissas().map((t) => [clock(t), ...names.map((n) => byTime.get(t).get(n) ?? "")]);
      return [["time", ...names.map((n) => n || "value")], rows];
    }

    cellTable() {
      const rows = this.objects.map((row) => [clock(row.t), quantity(row.v, "µs"), grouped(row.n)]);
      return [["time", "response from", "operations"], rows];
    }
  }

  // --- a run: what its charts have in common ---------------------------------------------------------------

  class Run {
    constructor(told) {
      this.root = document.querySelector(`[data-run="${told.id}"]`);
      this.charts = told.charts.map((chart) => new Chart(chart, this));
      this.hidden = new Set();
      this.at = null;
      const timed = told.charts.find((chart) => chart.timed);
      const value = (name) => (timed ? timed.spec.params.find((p) => p.name === name).value : 0);
      this.whole = [value("from"), value("to")];
      [this.from, this.to] = this.whole;
      this.root.addEventListener("click", (event) => {
        const chip = event.target.closest(".chip");
        if (chip) this.toggle(chip.dataset.series);
        if (event.target.closest("[data-reset]")) this.reset();
      });
      this.root.addEventListener("toggle", (event) => this.onToggle(event), true);
    }

    onToggle(event) {
      const { fill } = event.target.dataset;
      if (!fill || !event.target.open) return;
      delete event.target.dataset.fill;
      this.charts.find((chart) => chart.told.id === fill).fill(event.target.querySelector("table"));
    }

    send(signals, which) {
      for (const chart of this.charts) {
        if (!chart.view || !which(chart)) continue;
        for (const [name, value] of Object.entries(signals)) chart.view.signal(name, value);
        chart.view.runAsync();
      }
    }

    zoom(from, to) {
      // Clamped first: a span that lies beyond the end of the run, even by a little, is none.
      const ends = [Math.max(this.whole[0], from), Math.min(this.whole[1], to)];
      if (ends[1] - ends[0] < (this.whole[1] - this.whole[0]) / 2000) return;
      [this.from, this.to] = ends;
      this.send({ from: this.from, to: this.to }, (chart) => chart.told.timed);
      const bar = this.root.querySelector(".timebar");
      bar.querySelector("output").textContent =
        this.isWhole() ? "all" : clock(this.from) + " to " + clock(this.to);
      bar.querySelector("[data-reset]").disabled = this.isWhole();
    }
    isWhole() {
      return this.from <= this.whole[0] && this.to >= this.whole[1];
    }
    reset() {
      this.zoom(...this.whole);
    }
    scale(around, factor) {
      this.zoom(around - (around - this.from) * factor, around + (this.to - around) * factor);
    }
    pan(share) {
      const span = this.to - this.from;
      const from = Math.max(this.whole[0], Math.min(this.whole[1] - span, this.from + share * span));
      this.zoom(from, from + span);
    }

    point(at) {
      if (this.at === at) return;
      this.at = at;
      if (this.pending) return;
      // One drawing a frame, however fast the pointer is.
      this.pending = requestAnimationFrame(() => {
        this.pending = 0;
        this.send({ at: this.at }, (chart) => chart.told.timed);
      });
    }

    toggle(name) {
      if (!this.hidden.delete(name)) this.hidden.add(name);
      for (const chip of this.root.querySelectorAll(".chip")) {
        chip.setAttribute("aria-pressed", String(!this.hidden.has(chip.dataset.series)));
      }
      this.send({ hidden: [...this.hidden] }, (chart) => chart.told.series.length > 0);
    }
  }

  async function drawAll() {
    const told = JSON.parse(document.getElementById("report-data").textContent);
    let state = "drawn";
    for (const run of told.runs.map((each) => new Run(each))) {
      for (const chart of run.charts) {
        try {
          await chart.draw(told.config);
        } catch (error) {
          state = "broken";
          chart.place.classList.add("broken");
          chart.place.textContent = "This chart could not be drawn; its data are in the table below.";
          console.error(error);
        }
      }
    }
    document.documentElement.dataset.charts = state;
  }
  drawAll();
})();
