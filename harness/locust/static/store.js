// What came so far, for charts: series by name and group, percentiles by operation, kind and second.
const store = (function () {
  "use strict";
  // Where the page's questions go; `cursor` is up to where it has seen the run.
  const base = new URL(".", document.currentScript.src);
  const held = { base, cursor: "", series: new Map(), seconds: new Map(), page: null, trouble: "" };

  function take(page) {
    const live = page.live;
    held.page = page;
    if (!live) return;
    if (live.is_whole) {
      held.series.clear();
      held.seconds.clear();
    }
    held.cursor = live.next;
    for (const part of live.series) {
      const key = part.name + "|" + part.group;
      const line = held.series.get(key) || { name: part.name, group: part.group, points: [] };
      part.t_s.forEach((t, at) => line.points.push([t, part.values[at]]));
      held.series.set(key, line);
    }
    for (const row of live.seconds) {
      const key = row.operation + "|" + row.kind;
      if (!held.seconds.has(key)) held.seconds.set(key, new Map());
      held.seconds.get(key).set(row.t_s, row);
    }
  }
  const named = (name) => [...held.series.values()].filter((line) => line.name === name);

  // Where the time axis ends: at the last thing known, and at this moment while a fault is open.
  function lastTime() {
    const live = held.page.live;
    let last = 5;
    for (const line of held.series.values()) last = Math.max(last, line.points[line.points.length - 1][0]);
    for (const rows of held.seconds.values()) for (const t of rows.keys()) last = Math.max(last, t + 1);
    for (const fault of live.faults) last = Math.max(last, fault.end_s === null ? live.now_s : fault.end_s);
    return last;
  }

  // What a run is at: the system starts, the schedule is on, what was due drains, the report is written.
  function phase() {
    const { left_s, live, doing } = held.page;
    if (left_s !== null) return "RUNNING";
    if (!live || !live.counts || !live.counts.arrivals) return "STARTING";
    return doing === "writing the report" ? "REPORTING" : "DRAINING";
  }
  const secondsOf = (operation, kind) =>
    [...(held.seconds.get(operation + "|" + kind) || new Map()).values()].sort((a, b) => a.t_s - b.t_s);
  const groups = () => [...new Set([...held.series.values()].map((line) => line.group).filter(Boolean))].sort();

  return Object.assign(held, { take, named, lastTime, phase, secondsOf, groups });
})();
