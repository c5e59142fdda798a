// What ordershop-bench draws in Locust's page, in the tabs of its own, and on its own page.
//
//   poll    live?since=... once a second, while something of ours is to be seen and the page is not hidden
//   store   what came so far, for charts: series by name and group, percentiles by operation, kind and second
//   views   each builds its part once, and is told to show the store after each poll
//   place   in Locust's page: puts the views of the tab that is open where Locust would put its own
//
// Charts are SVG, drawn anew each second. Text is only ever set as textContent.
(function () {
  "use strict";
  const BASE = new URL(".", document.currentScript.src);
  const ownPage = document.body.classList.contains("shopbench-page");
  const PERIOD_MS = 1000;
  const LEVELS = [
    ["p50_us", "p50"], ["p90_us", "p90"], ["p99_us", "p99"], ["p99_9_us", "p99.9"], ["p99_99_us", "p99.99"], ["max_us", "max"],
  ];
  const KINDS = [
    ["response", "response", "done − due: how long a user waits"],
    ["service", "service", "done − start: how long the system needed once it was asked"],
    ["send_lag", "send lag", "start − due: how late the instrument itself was"],
  ];
  const LAGS = [
    ["lag.events", "appended, not applied", ""],
    ["lag.pending", "delivered, not acknowledged", "6 3"],
    ["lag.undelivered", "not delivered", "2 3"],
  ];
  const COLOURS = ["--c-1", "--c-2", "--c-3", "--c-4", "--c-5", "--c-6"];

  // Words ----------------------------------------------------------------------------------------------------

  const significant = quantities.plain;
  const duration = (micros) => quantities.duration(micros, quantities.plain);
  const seconds = (value) => quantities.seconds(value, quantities.plain);
  const count = (value) => Math.round(value).toLocaleString("en-US");
  const millis = (micros) => (micros === null ? "–" : (micros / 1000).toFixed(3));

  function make(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }
  function shape(name, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function table(head, rows) {
    const made = make("table");
    const top = made.createTHead().insertRow();
    for (const title of head) {
      const cell = make("th", title);
      cell.scope = "col";
      top.append(cell);
    }
    const body = made.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      row.forEach((text, at) => {
        const cell = make(at ? "td" : "th", text);
        if (!at) cell.scope = "row";
        line.append(cell);
      });
    }
    const scroll = make("div", undefined, "scroll");
    scroll.append(made);
    return scroll;
  }

  const PLAIN = ["COMPLETE", "RUNNING", "STARTING", "DRAINING", "REPORTING"];
  // Of a run, the worst that was concluded; no evidence is UNKNOWN.
  function worst(verdicts) {
    const statuses = verdicts.map((verdict) => verdict.status);
    if (statuses.includes("FAIL")) return "FAIL";
    return statuses.length && statuses.every((status) => status === "PASS") ? "PASS" : "UNKNOWN";
  }
  function badge(words, says = words) {
    const known = { PASS: "pass", FAIL: "fail", FAILED: "fail" };
    return make("span", words, ("badge " + (known[says] || (PLAIN.includes(says) ? "plain" : ""))).trim());
  }

  // Store ----------------------------------------------------------------------------------------------------

  const store = { cursor: "", series: new Map(), seconds: new Map(), page: null, trouble: "" };

  function take(page) {
    const live = page.live;
    store.page = page;
    if (!live) return;
    if (live.is_whole) {
      store.series.clear();
      store.seconds.clear();
    }
    store.cursor = live.next;
    for (const part of live.series) {
      const key = part.name + "|" + part.group;
      const line = store.series.get(key) || { name: part.name, group: part.group, points: [] };
      part.t_s.forEach((t, at) => line.points.push([t, part.values[at]]));
      store.series.set(key, line);
    }
    for (const row of live.seconds) {
      const key = row.operation + "|" + row.kind;
      if (!store.seconds.has(key)) store.seconds.set(key, new Map());
      store.seconds.get(key).set(row.t_s, row);
    }
  }
  const named = (name) => [...store.series.values()].filter((line) => line.name === name);

  // Where the time axis ends: at the last thing known, and at this moment while a fault is open.
  function lastTime() {
    const live = store.page.live;
    let last = 5;
    for (const line of store.series.values()) last = Math.max(last, line.points[line.points.length - 1][0]);
    for (const rows of store.seconds.values()) for (const t of rows.keys()) last = Math.max(last, t + 1);
    for (const fault of live.faults) last = Math.max(last, fault.end_s === null ? live.now_s : fault.end_s);
    return last;
  }

  // Charts ---------------------------------------------------------------------------------------------------

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
  function chart(title, note) {
    const figure = make("figure");
    const caption = make("figcaption");
    const heading = make("h3", title);
    const legend = make("div", undefined, "legend");
    caption.append(heading, make("p", note), legend);
    const plot = make("div", undefined, "plot");
    plot.tabIndex = 0;
    plot.setAttribute("role", "group");
    const details = make("details");
    details.append(make("summary", "As a table"));
    const numbers = make("div");
    details.append(numbers);
    figure.append(caption, plot, details);
    const tip = make("div", undefined, "tip");
    tip.hidden = true;
    let drawn = null;
    let pointer = null;

    details.addEventListener("toggle", () => drawn && fillTable());
    plot.addEventListener("pointermove", (event) => {
      if (!drawn) return;
      tip.setAttribute("aria-live", "off");
      pointer = drawn.xAt(event.clientX - plot.getBoundingClientRect().left);
      point();
    });
    plot.addEventListener("pointerleave", () => { pointer = null; point(); });
    plot.addEventListener("blur", () => { pointer = null; point(); });
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!drawn || (!step && event.key !== "Escape")) return;
      event.preventDefault();
      tip.setAttribute("aria-live", "polite");
      const { from, to } = drawn.spec.xAxis;
      if (!step) pointer = null;
      else if (pointer === null) pointer = step > 0 ? from : to;
      else pointer = Math.min(to, Math.max(from, pointer + step * (drawn.spec.xAxis.step || (to - from) / 60)));
      point();
    });

    function fillTable() {
      if (details.open) numbers.replaceChildren(table(...drawn.spec.table()));
    }
    function point() {
      const old = plot.querySelector(".rule");
      if (old) old.remove();
      if (pointer === null || !drawn) {
        tip.hidden = true;
        return;
      }
      const { spec, x, y, size } = drawn;
      const found = spec.lines.map((line) => [line, nearest(line.points, pointer)]);
      const near = found.filter(([, at]) => at && Math.abs(at[0] - pointer) <= (spec.gap || Infinity));
      if (!near.length) {
        tip.hidden = true;
        return;
      }
      const at = near[0][1][0];
      const rule = shape("g", { class: "rule" });
      rule.append(shape("line", { x1: x(at), x2: x(at), y1: size.top, y2: size.bottom, stroke: "var(--quiet)", "stroke-width": 1 }));
      tip.replaceChildren(make("b", spec.xAxis.format(at)));
      for (const [line, value] of near) {
        if (value[1] !== null) rule.append(shape("circle", { cx: x(value[0]), cy: y(value[1]), r: 3, fill: line.colour }));
        const row = make("div");
        row.append(make("span", line.name), make("span", value[1] === null ? "no answer" : spec.format(value[1])));
        tip.append(row);
      }
      for (const fault of (spec.faults || []).filter((f) => f.start_s <= at && (f.end_s === null || at <= f.end_s))) {
        const row = make("div");
        row.append(make("span", "fault"), make("span", fault.name + " " + fault.target));
        tip.append(row);
      }
      plot.querySelector("svg").append(rule);
      tip.hidden = false;
      const left = x(at) + 12;
      tip.style.left = (left + tip.offsetWidth > size.width ? x(at) - 12 - tip.offsetWidth : left) + "px";
    }
    function draw(spec) {
      const width = Math.max(320, plot.clientWidth);
      const size = { width, height: 250, left: 66, right: width - 14, top: 24, bottom: 208 };
      const svg = shape("svg", { viewBox: `0 0 ${width} ${size.height}`, height: size.height, role: "img", "aria-label": summary(spec) });
      const values = spec.lines.flatMap((line) => line.points.map((at) => at[1])).filter((value) => value !== null);
      const scale = spec.scale([bound(values, Math.min, Infinity), bound(values, Math.max, 0)].filter(Number.isFinite));
      const { from, to } = spec.xAxis;
      const x = (value) => size.left + ((value - from) / (to - from || 1)) * (size.right - size.left);
      const y = (value) => size.bottom - scale.of(value) * (size.bottom - size.top);
      drawn = { spec, x, y, size, xAt: (px) => from + ((px - size.left) / (size.right - size.left)) * (to - from) };
      shade(svg, spec, x, size);
      // Of events there are no halves.
      const ticks = spec.format === count ? scale.ticks.filter(Number.isInteger) : scale.ticks;
      for (const tick of values.length ? ticks : []) {
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
      for (const line of spec.lines) svg.append(...traced(line, spec, x, y, size));
      if (!values.length) {
        svg.append(shape("text", { class: "none", x: (size.left + size.right) / 2, y: 120, "text-anchor": "middle" }, spec.none || "nothing measured yet"));
      }
      plot.replaceChildren(svg, tip);
      plot.setAttribute("aria-label", title + "; the arrow keys read values");
      legend.replaceChildren(...spec.lines.map(key));
      fillTable();
      point();
    }
    return { figure, heading, draw };
  }
  function summary(spec) {
    const last = spec.lines.map((line) => {
      const known = line.points.filter((at) => at[1] !== null);
      return line.name + ": " + (known.length ? spec.format(known[known.length - 1][1]) : "nothing yet");
    });
    return spec.yTitle + ". Last: " + last.join(", ");
  }
  function shade(svg, spec, x, size) {
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
  function traced(line, spec, x, y, size) {
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
    const to = lastTime();
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

  // Views ----------------------------------------------------------------------------------------------------

  // What the run is at, and what is wrong with the page's own questions.
  function doingLine(isAlone) {
    const line = make("p", undefined, "doing");
    // On the page of our own it stands once, above all views.
    if (ownPage && !isAlone) return { node: make("span"), show() {} };
    line.setAttribute("role", "status");
    let said = "";
    return {
      node: line,
      show() {
        const page = store.page;
        const parts = [];
        if (store.trouble) parts.push(make("span", store.trouble, "trouble"));
        else if (page && page.is_running) parts.push(badge(phase(page)), make("span", page.doing), ...openFaults(page.live));
        else if (page && page.outcome) {
          const { status, verdicts, headline, reason } = page.outcome;
          const found = status === "complete" ? worst(verdicts) : "";
          parts.push(found === "PASS" ? badge("COMPLETE", found) : badge(status.toUpperCase()));
          if (found && found !== "PASS") parts.push(badge(found));
          parts.push(make("span", headline || reason));
        } else if (page) parts.push(make("span", page.doing || "No run yet: press Start in Locust’s form."));
        const words = parts.map((part) => part.textContent).join(" ");
        if (words !== said) line.replaceChildren(...parts);
        said = words;
      },
    };
  }
  // What a run is at: the system starts, the schedule is on, what was due drains, the report is written.
  function phase(page) {
    if (page.left_s !== null) return "RUNNING";
    if (!page.live || !page.live.counts || !page.live.counts.arrivals) return "STARTING";
    return page.doing === "writing the report" ? "REPORTING" : "DRAINING";
  }
  const DONE = { kill: "was killed", stop: "was stopped", freeze: "is frozen", cut: "is cut off", slow: "is slow", pause: "is paused" };
  function openFaults(live) {
    const open = live ? live.faults.filter((fault) => fault.end_s === null) : [];
    return open.map((fault) =>
      make("strong", `${fault.target.toUpperCase()} ${DONE[fault.name] || fault.name} ${seconds(Math.max(0, live.now_s - fault.start_s))} ago`, "open-fault"));
  }
  // How far it is, and how operations that were due have ended so far.
  function runView(root) {
    const doing = doingLine();
    const bar = make("progress");
    bar.max = 1;
    bar.setAttribute("aria-label", "progress of the run");
    const left = make("span", "", "left");
    const line = make("p", undefined, "progress");
    line.append(bar, left);
    const note = make("p", "Operations that were due so far. An unanswered operation is on its way, or waits for the system. Which of the two is known only when the load has ended.", "note");
    const tiles = make("dl", undefined, "tiles");
    const events = lagChart();
    const overTime = chart("Response, second by second", "From when an operation was due until its answer arrived. Each is shown at the second in which it was due.");
    const charts = make("div", undefined, "charts");
    // On the page of our own these stand below.
    if (!ownPage) charts.append(events.figure, overTime.figure);
    root.append(doing.node, line, tiles, note, charts);
    return () => {
      doing.show();
      const page = store.page;
      if (!page) return;
      line.hidden = !page.is_running;
      const now = phase(page);
      // A bar without a value says: it is on, nobody knows for how long.
      if (now === "RUNNING") bar.value = page.share;
      else bar.removeAttribute("value");
      left.textContent = { RUNNING: () => "the schedule ends in " + seconds(page.left_s < 10 ? page.left_s : Math.round(page.left_s)), STARTING: () => "starting: nothing is due yet", DRAINING: () => "the schedule has ended; the last operations are awaited and accounted for", REPORTING: () => "the report is being written" }[now]();
      const counts = page.live && page.live.counts;
      tiles.hidden = note.hidden = !counts;
      if (counts) {
        const rows = [["due", counts.arrivals], ["answered", counts.ok], ["unanswered", counts.unanswered], ["failed", counts.failed, true], ["unknown", counts.unknown, true], ["dropped", counts.dropped, true]];
        tiles.replaceChildren(...rows.map(([name, value, isBad]) => {
          const tile = make("div", undefined, isBad && value ? "bad" : "");
          tile.dataset.count = name;
          tile.append(make("dt", name), make("dd", count(value)));
          return tile;
        }));
      }
      charts.hidden = ownPage || !page.live;
      if (charts.hidden) return;
      events.figure.hidden = !named("lag.events").length;
      if (!events.figure.hidden) events.show();
      const operation = (page.live.percentiles.find((row) => row.kind === "response") || {}).operation;
      const rows = operation ? [...store.seconds.get(operation + "|response").values()].sort((a, b) => a.t_s - b.t_s) : [];
      overTime.draw({
        lines: [["p50_us", "p50", "--c-3"], ["p99_us", "p99", "--c-1"], ["max_us", "max", "--c-2", "3 4"]].map(([field, name, colour, dash]) => ({
          name: (operation ? operation + " " : "") + name, colour: `var(${colour})`, dash, points: rows.map((row) => [row.t_s + 0.5, row[field]]),
        })),
        scale: logScale, format: duration, yTitle: "response, logarithmic", xAxis: timeAxis(), gap: 1.5,
        faults: page.live.faults, marks: page.live.marks,
        table: () => [["second", "operations", "p50 (ms)", "p99 (ms)", "max (ms)"], rows.slice(-60).reverse().map((row) => [significant(row.t_s, 4), count(row.count), millis(row.p50_us), millis(row.p99_us), millis(row.max_us)])],
      });
    };
  }
  function lagLines() {
    const groups = [...new Set([...store.series.values()].map((line) => line.group).filter(Boolean))].sort();
    return LAGS.flatMap(([name, words, dash], kind) =>
      named(name).map((line) => ({
        name: line.group + ": " + words,
        colour: `var(${COLOURS[(groups.length > 1 ? groups.indexOf(line.group) : kind) % COLOURS.length]})`,
        dash,
        points: line.points,
      })));
  }
  function lagChart() {
    const made = chart("Lag in events", "How many events wait for the consumer: by our own counts at both ends of the line, and as the server counts them for its group.");
    return {
      figure: made.figure,
      show() {
        const lines = lagLines();
        made.draw({
          lines, scale: linearScale, format: count, yTitle: "events", xAxis: timeAxis(), gap: 1, none: "no readings of lag yet",
          faults: store.page.live.faults, marks: store.page.live.marks, table: () => lastMinute(lines, count),
        });
      },
    };
  }
  function lagView(root) {
    const doing = doingLine();
    const events = lagChart();
    const age = chart("Lag in seconds", "The age of the oldest event that has not been applied.");
    const charts = make("div", undefined, "charts");
    charts.append(events.figure, age.figure);
    root.append(doing.node, charts);
    return () => {
      doing.show();
      if (!store.page || !store.page.live) return;
      events.show();
      const lines = named("lag.seconds").map((line, at) => ({ name: line.group, colour: `var(${COLOURS[at % COLOURS.length]})`, points: line.points }));
      age.draw({
        lines, scale: linearScale, format: seconds, yTitle: "seconds", xAxis: timeAxis(), gap: 1, none: "no readings of lag yet",
        faults: store.page.live.faults, marks: store.page.live.marks, table: () => lastMinute(lines, seconds),
      });
    };
  }

  function percentilesIntro(root) {
    const doing = doingLine();
    root.append(doing.node, make("p",
      "These percentiles come from ordershop-bench: HDR histograms of every answer, of all workers, within 0.1 %, counted from when an operation was due. The report has the same. " +
      "The Statistics and Charts tabs show Locust’s numbers of the same answers, rounded to 1 ms below 100 ms and to two digits above.", "note"));
    return doing.show;
  }
  function percentilesView(root) {
    const chosen = { operation: "", kind: "response" };
    const choices = make("fieldset", undefined, "choices");
    choices.append(make("legend", "Show"));
    for (const [kind, words, meaning] of KINDS) {
      const label = make("label");
      label.title = meaning;
      const radio = make("input");
      Object.assign(radio, { type: "radio", name: "shopbench-kind", value: kind, checked: kind === chosen.kind });
      radio.addEventListener("change", () => { chosen.kind = kind; show(); });
      label.append(radio, words);
      choices.append(label);
    }
    const select = make("select");
    select.setAttribute("aria-label", "operation");
    select.addEventListener("change", () => { chosen.operation = select.value; show(); });
    choices.append(select);
    const overTime = chart("", "Each operation is shown at the second in which it was due. So a stall shows where its arrivals were due, at its full length.");
    const whole = chart("Percentiles of the run so far", "Each step to the right is ten times rarer (the first, five times). A percentile of too few operations is their maximum: p99.99 needs 10,000.");
    const charts = make("div", undefined, "charts");
    charts.append(overTime.figure, whole.figure);
    whole.figure.querySelector("details").open = ownPage;
    root.append(choices, charts);

    function showTime(live) {
      const rows = [...(store.seconds.get(chosen.operation + "|" + chosen.kind) || new Map()).values()].sort((a, b) => a.t_s - b.t_s);
      // The maximum last and dashed, for in a second of few operations other percentiles are the same.
      const shown = [["p50_us", "p50", "--c-3"], ["p99_us", "p99", "--c-1"], ["p99_9_us", "p99.9", "--c-4"], ["max_us", "max", "--c-2", "3 4"]];
      const lines = shown.map(([field, name, colour, dash]) => ({
        name, colour: `var(${colour})`, dash, points: rows.map((row) => [row.t_s + 0.5, row[field]]),
      }));
      const [, words, meaning] = KINDS.find(([kind]) => kind === chosen.kind);
      overTime.heading.textContent = `${chosen.operation}: ${words} (${meaning})`;
      overTime.draw({
        lines, scale: logScale, format: duration, yTitle: `${words}, logarithmic`, xAxis: timeAxis(), gap: 1.5,
        faults: live.faults, marks: live.marks,
        table: () => [
          ["second", "operations", ...LEVELS.map(([, name]) => name + " (ms)")],
          rows.slice(-60).reverse().map((row) => [significant(row.t_s, 4), count(row.count), ...LEVELS.map(([field]) => millis(row[field]))]),
        ],
      });
    }
    function showWhole(live) {
      const rows = live.percentiles.filter((row) => row.operation === chosen.operation);
      const steps = LEVELS.slice(0, 5);
      const lines = rows.map((row, at) => ({
        name: (KINDS.find(([kind]) => kind === row.kind) || [row.kind, row.kind])[1],
        colour: `var(${COLOURS[at % COLOURS.length]})`,
        points: steps.map(([field], step) => [step, row[field]]),
      }));
      whole.draw({
        lines, scale: logScale, format: duration, yTitle: "latency, logarithmic", dots: true,
        xAxis: { from: -0.15, to: 4.15, step: 1, ticks: steps.map(([, name], step) => [step, name]), title: "percentile", format: (at) => steps[Math.round(at)][1] },
        table: () => [
          ["latency", "operations", ...LEVELS.map(([, name]) => name + " (ms)")],
          rows.map((row, at) => [lines[at].name, count(row.count), ...LEVELS.map(([field]) => millis(row[field]))]),
        ],
      });
    }
    function show() {
      if (!store.page || !store.page.live) return;
      const operations = [...new Set(store.page.live.percentiles.map((row) => row.operation))];
      if (!operations.includes(chosen.operation)) chosen.operation = operations[0] || "";
      if (select.options.length !== operations.length) select.replaceChildren(...operations.map((name) => make("option", name)));
      select.value = chosen.operation;
      select.hidden = operations.length < 2;
      showTime(store.page.live);
      showWhole(store.page.live);
    }
    return show;
  }

  const IDLE = "The buttons work while a load is running, in scenarios that have a CRM to break.";
  function faultsView(root) {
    const doing = doingLine();
    const buttons = make("div", undefined, "buttons");
    buttons.setAttribute("role", "group");
    buttons.setAttribute("aria-label", "faults of the CRM");
    const answer = make("p", "", "answer");
    answer.setAttribute("role", "status");
    const made = [
      ["stop", "Stop CRM", "SIGTERM: it may finish what it has in hand"], ["kill", "Kill CRM", "SIGKILL: it cannot finish what it has in hand"],
      ["freeze", "Freeze CRM", "SIGSTOP: it keeps its connections, silently"], ["start", "Start CRM", "heals the open fault: the CRM is started again, or goes on"],
    ].map(([action, words, meaning]) => {
      const button = make("button", words, action === "start" ? "heal" : "");
      button.type = "button";
      button.title = meaning;
      button.addEventListener("click", () => press(action, button));
      buttons.append(button);
      return [action, button];
    });
    const tiles = make("dl", undefined, "tiles");
    const spoken = make("p", "", "away");
    spoken.setAttribute("aria-live", "polite");
    const events = lagChart();
    const charts = make("div", undefined, "charts");
    if (!ownPage) charts.append(events.figure);
    const ledger = make("h3", "Ledger");
    const note = make("p", "Events that were acknowledged to the producer, compared one by one with effects at the end of the line. Lost is known when everything has drained. Until then an event without an effect counts as waiting.", "note");
    root.append(doing.node, buttons, answer, ledger, note, tiles, spoken, charts);
    let busy = false;

    async function press(action, button) {
      if (busy || button.getAttribute("aria-disabled") === "true") return;
      busy = true;
      answer.className = "answer";
      answer.textContent = button.textContent + " …";
      show();
      try {
        const response = await fetch(new URL("fault", BASE), {
          method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ action, target: "crm" }),
        });
        const told = await response.json();
        answer.textContent = told.message;
        if (!told.success) answer.className = "answer trouble";
      } catch (error) {
        answer.textContent = "Locust does not answer: " + error.message;
        answer.className = "answer trouble";
      }
      busy = false;
      wake(true);
    }
    function showButtons(live) {
      const open = live && live.faults.some((fault) => fault.end_s === null && fault.target === "crm");
      for (const [action, button] of made) {
        const can = !busy && live && live.can_break && (action === "start" ? open : !open);
        button.setAttribute("aria-disabled", String(!can));
      }
      if (live && !live.can_break && !busy && !answer.textContent) answer.textContent = IDLE;
      if (live && live.can_break && answer.textContent === IDLE) answer.textContent = "";
    }
    function showLedger(live) {
      const account = live.account;
      ledger.hidden = note.hidden = tiles.hidden = !account;
      if (!account) return;
      const undrained = live.has_drained === false ? "open: not drained" : "open until drained";
      const rows = [
        // What was due, and the five that it adds up to.
        ...["due", "failed", "unknown", "dropped", "unanswered"].filter((name) => account[name] !== null).map((name) => [name, account[name]]),
        ["attempted", account.attempted], ["acknowledged", account.acknowledged], ["applied", account.applied], ["waiting", account.waiting],
        ["duplicated", account.duplicated], ["unexpected", account.unexpected, "open until the load ends"], ["lost", account.lost, undrained],
      ];
      tiles.replaceChildren(...rows.map(([name, value, open]) => {
        const tile = make("div");
        tile.dataset.ledger = name;
        const judged = ["lost", "duplicated", "unexpected"].includes(name);
        if (value === null) tile.className = "open";
        else if (judged) tile.className = value ? "bad" : "good";
        tile.append(make("dt", name), make("dd", value === null ? open : count(value)));
        return tile;
      }));
      speak(account, rows);
    }
    let spokenAt = 0;
    let spokenKey = "";
    function speak(account, rows) {
      // All numbers each second would drown a screen reader: what matters at once, the rest each ten seconds.
      const key = [account.lost, account.duplicated, account.unexpected].join();
      if (key === spokenKey && (performance.now() - spokenAt < 10000 || account.lost !== null)) return;
      spokenKey = key;
      spokenAt = performance.now();
      spoken.textContent = "Ledger: " + rows.map(([name, value, open]) => name + " " + (value === null ? open : count(value))).join(", ") + ".";
    }
    function show() {
      doing.show();
      const live = store.page && store.page.live;
      showButtons(live);
      if (!live) return;
      showLedger(live);
      if (!ownPage) events.show();
    }
    return show;
  }

  function reportView(root) {
    const doing = doingLine();
    const body = make("div");
    root.append(doing.node, body);
    let said = null;
    return () => {
      doing.show();
      const outcome = store.page && store.page.outcome;
      const key = JSON.stringify(outcome || null);
      if (key === said) return;
      said = key;
      body.replaceChildren();
      if (!outcome) {
        body.append(make("p", "A report is written when a run has ended.", "note"));
        return;
      }
      const link = make("a", "Report of the last run");
      link.href = new URL("report", BASE);
      link.target = "_blank";
      const line = make("p", undefined, "sentence");
      line.append(outcome.has_report ? link : "The report is being written.");
      const verdicts = make("ul", undefined, "verdicts");
      for (const verdict of outcome.verdicts) {
        const row = make("li");
        row.append(badge(verdict.status), make("span", verdict.name), make("span", verdict.detail));
        verdicts.append(row);
      }
      body.append(line, make("p", "Its record is in " + outcome.directory + ".", "note"), verdicts);
    };
  }
  function headView(root) {
    const doing = doingLine(true);
    root.append(doing.node);
    return doing.show;
  }
  const VIEWS = {
    "shopbench-head": [headView],
    "shopbench-run": [runView],
    "shopbench-lag": [lagView],
    "shopbench-percentiles": [percentilesIntro, percentilesView],
    "shopbench-faults": [faultsView],
    "shopbench-report": [reportView],
  };

  // Polling --------------------------------------------------------------------------------------------------

  let mounted = [];
  let timer = null;
  let asking = false;

  function isDark() {
    const [red, green, blue, alpha] = (getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g) || []).map(Number);
    if (red === undefined || alpha === 0) return window.matchMedia("(prefers-color-scheme: dark)").matches;
    return red * 0.3 + green * 0.6 + blue * 0.1 < 128;
  }
  function show() {
    const dark = ownPage ? window.matchMedia("(prefers-color-scheme: dark)").matches : isDark();
    if (ownPage) document.body.dataset.dark = dark;
    for (const view of mounted) {
      view.root.dataset.dark = dark;
      view.show();
    }
  }
  async function ask() {
    timer = null;
    if (asking || document.hidden || !mounted.length) return;
    asking = true;
    let more = false;
    try {
      const response = await fetch(new URL("live?since=" + encodeURIComponent(store.cursor), BASE), { cache: "no-store" });
      if (!response.ok) throw new Error("it answered " + response.status + (response.status === 403 ? ", " + (await response.json()).message : ""));
      const page = await response.json();
      take(page);
      store.trouble = "";
      more = Boolean(page.live && page.live.more);
    } catch (error) {
      store.trouble = "Locust does not answer: " + error.message;
    }
    asking = false;
    show();
    timer = setTimeout(ask, more ? 50 : PERIOD_MS);
  }
  function wake(now) {
    if (timer !== null && !now) return;
    clearTimeout(timer);
    timer = null;
    ask();
  }
  document.addEventListener("visibilitychange", () => wake(false));
  window.addEventListener("resize", () => store.page && show());

  // Places ---------------------------------------------------------------------------------------------------

  function mount(view, root) {
    root.classList.add("shopbench");
    return { root, show: view(root) };
  }
  if (ownPage) {
    for (const place of document.querySelectorAll("[data-view]")) {
      for (const view of VIEWS[place.dataset.view]) {
        const root = make("div");
        place.append(root);
        mounted.push(mount(view, root));
      }
    }
    show();
    ask();
    return;
  }

  // Locust's form says nothing of why a request was refused before it came to it.
  const plainFetch = window.fetch;
  window.fetch = async (...given) => {
    const response = await plainFetch(...given);
    if (response.status === 403) {
      response.clone().json().then((told) => refused(told.message), () => refused("refused"));
    }
    return response;
  };
  // Nor does its page, which stays empty, if its own script was refused: that one is asked for with an Origin, as a
  // POST is, and the answer to that can be read.
  for (const script of document.querySelectorAll("script[type=module]")) {
    script.addEventListener("error", () => window.fetch(new URL("live", BASE), { method: "POST" }).catch(() => {}));
  }
  function refused(message) {
    let line = document.querySelector(".shopbench-refused");
    if (!line) {
      line = make("p", undefined, "shopbench-refused");
      line.setAttribute("role", "alert");
      document.body.prepend(line);
    }
    line.textContent = message;
  }

  // Locust's start form: our fields are the form, so they are open; and another profile brings its own values.
  const offered = (window.templateArgs || {}).shopbench || { profiles: {}, profile_field: "", has_host: true };
  const opened = new WeakSet();
  const profileBefore = new WeakMap();
  function openForm() {
    for (const input of document.querySelectorAll("select")) {
      if (input.name !== offered.profile_field) continue;
      if (!profileBefore.has(input)) profileBefore.set(input, input.value);
      const head = input.closest(".MuiAccordion-root") && input.closest(".MuiAccordion-root").querySelector("button[aria-expanded]");
      if (!head || opened.has(head)) continue;
      opened.add(head);
      if (head.getAttribute("aria-expanded") === "false") head.click();
    }
  }
  document.addEventListener("change", (event) => {
    const chosen = event.target;
    if (chosen.name !== offered.profile_field || !chosen.form) return;
    const before = offered.profiles[profileBefore.get(chosen)] || {};
    const values = offered.profiles[chosen.value] || {};
    profileBefore.set(chosen, chosen.value);
    for (const field of chosen.form.elements) {
      // What somebody has typed stays.
      if (field !== chosen && field.name in values && field.value === before[field.name]) field.value = values[field.name];
    }
  });

  // Of a test that is on, what it is about comes first; whoever chooses another tab keeps it.
  const OUR_TABS = ((window.templateArgs || {}).extended_tabs || []).map((tab) => tab.title);
  let isInFront = false;
  function bringToFront(tabs) {
    const ours = tabs ? [...tabs.querySelectorAll('[role="tab"]')].filter((tab) => OUR_TABS.includes(tab.textContent.trim())) : [];
    for (const tab of ours) if (!tab.classList.contains("shopbench-first")) tab.classList.add("shopbench-first");
    if (!ours.length || isInFront) return;
    isInFront = true;
    if (!new URLSearchParams(location.search).has("tab")) ours[0].click();
  }
  // What is measured has no host; where a shop elsewhere is asked, Locust shows it.
  function hideHost() {
    if (offered.has_host) return;
    const label = [...document.querySelectorAll("header p, header .MuiTypography-root")].find((each) => each.textContent === "Host");
    const part = label && label.parentElement;
    if (!part || part.style.display === "none") return;
    part.style.display = "none";
    if (part.nextElementSibling && part.nextElementSibling.matches(".MuiDivider-root")) part.nextElementSibling.style.display = "none";
  }

  // Locust's page: <container> <box of tabs> [ours] <what Locust shows of the tab> [ours] </container>
  let placed = { key: "", container: null };
  function place() {
    const key = new URLSearchParams(location.search).get("tab");
    const tabs = document.querySelector('[role="tablist"]');
    openForm();
    bringToFront(tabs);
    hideHost();
    const container = tabs && tabs.closest(".MuiContainer-root");
    const isThere = mounted.length && placed.key === key && placed.container === container && mounted.every((view) => view.root.isConnected);
    if (isThere) {
      const last = mounted[mounted.length - 1].root;
      if (container.lastElementChild !== last) container.append(last);
      return;
    }
    for (const view of mounted) view.root.remove();
    mounted = [];
    placed = { key, container };
    if (!container || !VIEWS[key]) return;
    mounted = VIEWS[key].map((view, at) => {
      const root = make("div");
      root.id = `${key}-${at}`;
      const made = mount(view, root);
      if (at < VIEWS[key].length - 1) container.insertBefore(root, container.children[1] || null);
      else container.append(root);
      return made;
    });
    show();
    wake(true);
  }
  let awaited = false;
  function soon() {
    if (awaited) return;
    awaited = true;
    requestAnimationFrame(() => {
      awaited = false;
      place();
    });
  }
  new MutationObserver(soon).observe(document.getElementById("root") || document.body, { childList: true, subtree: true });
  // A click may choose another tab, or the theme; nothing says that the observer has seen either.
  document.addEventListener("click", () => requestAnimationFrame(() => {
    place();
    if (mounted.length) show();
  }));
  window.addEventListener("popstate", soon);
  place();
})();
