// What a tab shows of a run: how far it is, its lag, its report. `views.NAME(root)` builds its part once, and
// answers what shows the store.
const views = (function () {
  "use strict";
  const { badge, colour, count, duration, isOwnPage, make, millis, seconds, significant, worst } = elements;
  const { Chart, lastMinute, linearScale, logScale, timeAxis } = charts;
  const LAGS = [
    ["lag.events", "appended, not applied", ""],
    ["lag.pending", "delivered, not acknowledged", "6 3"],
    ["lag.undelivered", "not delivered", "2 3"],
  ];
  // What is measured in a second, by field, name, colour and dash.
  const IN_A_SECOND = [["p50_us", "p50", "--c-3"], ["p99_us", "p99", "--c-1"], ["max_us", "max", "--c-2", "3 4"]];
  const PHASES = {
    RUNNING: ({ left_s }) => "the schedule ends in " + seconds(left_s < 10 ? left_s : Math.round(left_s)),
    STARTING: () => "starting: nothing is due yet",
    DRAINING: () => "the schedule has ended; the last operations are awaited and accounted for",
    REPORTING: () => "the report is being written",
  };

  // What the run is at, and what is wrong with the page's own questions.
  function doingLine(isAlone) {
    const line = make("p", undefined, "doing");
    // On the page of our own it stands once, above all views.
    if (isOwnPage && !isAlone) return { node: make("span"), show() {} };
    line.setAttribute("role", "status");
    let said = "";
    return {
      node: line,
      show() {
        const parts = doingParts();
        const words = parts.map((part) => part.textContent).join(" ");
        if (words !== said) line.replaceChildren(...parts);
        said = words;
      },
    };
  }
  function doingParts() {
    const page = store.page;
    if (store.trouble) return [make("span", store.trouble, "trouble")];
    if (!page) return [];
    if (page.is_running) return [badge(store.phase()), make("span", page.doing), ...openFaults(page.live)];
    if (page.outcome) return outcomeParts(page.outcome);
    return [make("span", page.doing || "No run yet: press Start in Locust’s form.")];
  }
  function outcomeParts({ status, verdicts, headline, reason }) {
    const found = status === "complete" ? worst(verdicts) : "";
    const badges = [found === "PASS" ? badge("COMPLETE", found) : badge(status.toUpperCase())];
    if (found && found !== "PASS") badges.push(badge(found));
    return [...badges, make("span", headline || reason)];
  }
  function openFaults(live) {
    const open = live ? live.faults.filter((fault) => fault.end_s === null) : [];
    return open.map((fault) =>
      make("strong", `${fault.target.toUpperCase()} ${fault.words} ${seconds(Math.max(0, live.now_s - fault.start_s))} ago`, "open-fault"));
  }

  // How far it is, and how operations that were due have ended so far.
  function run(root) {
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
    const overTime = new Chart("Response, second by second", "From when an operation was due until its answer arrived. Each is shown at the second in which it was due.");
    const drawings = make("div", undefined, "charts");
    // On the page of our own these stand below.
    if (!isOwnPage) drawings.append(events.figure, overTime.figure);
    root.append(doing.node, line, tiles, note, drawings);
    return () => {
      doing.show();
      const page = store.page;
      if (!page) return;
      line.hidden = !page.is_running;
      const now = store.phase();
      // A bar without a value says: it is on, nobody knows for how long.
      if (now === "RUNNING") bar.value = page.share;
      else bar.removeAttribute("value");
      left.textContent = PHASES[now](page);
      const counts = page.live && page.live.counts;
      tiles.hidden = note.hidden = !counts;
      if (counts) tiles.replaceChildren(...countTiles(counts));
      drawings.hidden = isOwnPage || !page.live;
      if (drawings.hidden) return;
      events.figure.hidden = !store.named("lag.events").length;
      if (!events.figure.hidden) events.show();
      drawResponse(overTime, page.live);
    };
  }
  function countTiles(counts) {
    const rows = [
      ["due", counts.arrivals], ["answered", counts.ok], ["unanswered", counts.unanswered],
      ["failed", counts.failed, true], ["unknown", counts.unknown, true], ["dropped", counts.dropped, true],
    ];
    return rows.map(([name, value, isBad]) => {
      const tile = make("div", undefined, isBad && value ? "bad" : "");
      tile.dataset.count = name;
      tile.append(make("dt", name), make("dd", count(value)));
      return tile;
    });
  }
  function drawResponse(chart, live) {
    const operation = (live.percentiles.find((row) => row.kind === "response") || {}).operation;
    const rows = operation ? store.secondsOf(operation, "response") : [];
    chart.draw({
      lines: IN_A_SECOND.map(([field, name, colour, dash]) => ({
        name: (operation ? operation + " " : "") + name, colour: `var(${colour})`, dash, points: rows.map((row) => [row.t_s + 0.5, row[field]]),
      })),
      scale: logScale, format: duration, yTitle: "response, logarithmic", xAxis: timeAxis(), gap: 1.5,
      faults: live.faults, marks: live.marks,
      table: () => [
        ["second", "operations", "p50 (ms)", "p99 (ms)", "max (ms)"],
        rows.slice(-60).reverse().map((row) => [significant(row.t_s, 4), count(row.count), millis(row.p50_us), millis(row.p99_us), millis(row.max_us)]),
      ],
    });
  }

  function lagLines() {
    const groups = store.groups();
    return LAGS.flatMap(([name, words, dash], kind) =>
      store.named(name).map((line) => ({
        name: line.group + ": " + words,
        colour: colour(groups.length > 1 ? groups.indexOf(line.group) : kind),
        dash,
        points: line.points,
      })));
  }
  function drawLag(chart, lines, format, yTitle) {
    const { faults, marks } = store.page.live;
    chart.draw({
      lines, scale: linearScale, format, yTitle, xAxis: timeAxis(), gap: 1, none: "no readings of lag yet",
      faults, marks, table: () => lastMinute(lines, format),
    });
  }
  function lagChart() {
    const chart = new Chart("Lag in events", "How many events wait for the consumer: by our own counts at both ends of the line, and as the server counts them for its group.");
    return { figure: chart.figure, show: () => drawLag(chart, lagLines(), count, "events") };
  }
  function lag(root) {
    const doing = doingLine();
    const events = lagChart();
    const age = new Chart("Lag in seconds", "The age of the oldest event that has not been applied.");
    const drawings = make("div", undefined, "charts");
    drawings.append(events.figure, age.figure);
    root.append(doing.node, drawings);
    return () => {
      doing.show();
      if (!store.page || !store.page.live) return;
      events.show();
      const lines = store.named("lag.seconds").map((line, at) => ({ name: line.group, colour: colour(at), points: line.points }));
      drawLag(age, lines, seconds, "seconds");
    };
  }

  function report(root) {
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
      body.replaceChildren(...(outcome ? reportParts(outcome) : [make("p", "A report is written when a run has ended.", "note")]));
    };
  }
  function reportParts(outcome) {
    const link = make("a", "Report of the last run");
    link.href = new URL("report", store.base);
    link.target = "_blank";
    const line = make("p", undefined, "sentence");
    line.append(outcome.has_report ? link : "The report is being written.");
    const verdicts = make("ul", undefined, "verdicts");
    for (const verdict of outcome.verdicts) {
      const row = make("li");
      row.append(badge(verdict.status), make("span", verdict.name), make("span", verdict.detail));
      verdicts.append(row);
    }
    return [line, make("p", "Its record is in " + outcome.directory + ".", "note"), verdicts];
  }
  function head(root) {
    const doing = doingLine(true);
    root.append(doing.node);
    return doing.show;
  }

  return { doingLine, lagChart, head, run, lag, report };
})();
