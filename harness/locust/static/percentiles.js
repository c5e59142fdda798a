// The tab of percentiles: of each second, and of the run so far; of one operation and one kind of latency.
const percentiles = (function () {
  "use strict";
  const { KINDS, LEVELS, colour, count, duration, isOwnPage, make, millis, significant } = elements;
  const { Chart, logScale, timeAxis } = charts;
  // The maximum last and dashed, for in a second of few operations other percentiles are the same.
  const IN_A_SECOND = [["p50_us", "p50", "--c-3"], ["p99_us", "p99", "--c-1"], ["p99_9_us", "p99.9", "--c-4"], ["max_us", "max", "--c-2", "3 4"]];
  const STEPS = LEVELS.slice(0, 5);

  function intro(root) {
    const doing = views.doingLine();
    root.append(doing.node, make("p",
      "These percentiles come from ordershop-bench: HDR histograms of every answer, of all workers, within 0.1 %, counted from when an operation was due. The report has the same. " +
      "The Statistics and Charts tabs show Locust’s numbers of the same answers, rounded to 1 ms below 100 ms and to two digits above.", "note"));
    return doing.show;
  }

  // Buttons for the kind of latency, and a choice of the operation where there are several.
  function chooser(chosen, show) {
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
    return {
      node: choices,
      offer(operations) {
        if (!operations.includes(chosen.operation)) chosen.operation = operations[0] || "";
        if (select.options.length !== operations.length) select.replaceChildren(...operations.map((name) => make("option", name)));
        select.value = chosen.operation;
        select.hidden = operations.length < 2;
      },
    };
  }
  function drawSeconds(chart, live, chosen) {
    const rows = store.secondsOf(chosen.operation, chosen.kind);
    const lines = IN_A_SECOND.map(([field, name, colour, dash]) => ({
      name, colour: `var(${colour})`, dash, points: rows.map((row) => [row.t_s + 0.5, row[field]]),
    }));
    const [, words, meaning] = KINDS.find(([kind]) => kind === chosen.kind);
    chart.heading.textContent = `${chosen.operation}: ${words} (${meaning})`;
    chart.draw({
      lines, scale: logScale, format: duration, yTitle: `${words}, logarithmic`, xAxis: timeAxis(), gap: 1.5,
      faults: live.faults, marks: live.marks,
      table: () => [
        ["second", "operations", ...LEVELS.map(([, name]) => name + " (ms)")],
        rows.slice(-60).reverse().map((row) => [significant(row.t_s, 4), count(row.count), ...LEVELS.map(([field]) => millis(row[field]))]),
      ],
    });
  }
  function drawWhole(chart, live, chosen) {
    const rows = live.percentiles.filter((row) => row.operation === chosen.operation);
    const lines = rows.map((row, at) => ({
      name: row.kind.replaceAll("_", " "),
      colour: colour(at),
      points: STEPS.map(([field], step) => [step, row[field]]),
    }));
    chart.draw({
      lines, scale: logScale, format: duration, yTitle: "latency, logarithmic", dots: true,
      xAxis: { from: -0.15, to: 4.15, step: 1, ticks: STEPS.map(([, name], step) => [step, name]), title: "percentile", format: (at) => STEPS[Math.round(at)][1] },
      table: () => [
        ["latency", "operations", ...LEVELS.map(([, name]) => name + " (ms)")],
        rows.map((row, at) => [lines[at].name, count(row.count), ...LEVELS.map(([field]) => millis(row[field]))]),
      ],
    });
  }
  function tables(root) {
    const chosen = { operation: "", kind: "response" };
    const choices = chooser(chosen, show);
    const overTime = new Chart("", "Each operation is shown at the second in which it was due. So a stall shows where its arrivals were due, at its full length.");
    const whole = new Chart("Percentiles of the run so far", "Each step to the right is ten times rarer (the first, five times). A percentile of too few operations is their maximum: p99.99 needs 10,000.");
    const drawings = make("div", undefined, "charts");
    drawings.append(overTime.figure, whole.figure);
    whole.details.open = isOwnPage;
    root.append(choices.node, drawings);

    function show() {
      const live = store.page && store.page.live;
      if (!live) return;
      choices.offer([...new Set(live.percentiles.map((row) => row.operation))]);
      drawSeconds(overTime, live, chosen);
      drawWhole(whole, live, chosen);
    }
    return show;
  }

  return { intro, tables };
})();
