// Elements of a page, and the words and colours that all views share. Text is only ever set as textContent.
const elements = (function () {
  "use strict";
  // On the page of our own all views stand below each other; in Locust's, each in its tab.
  const isOwnPage = document.body.classList.contains("shopbench-page");
  const LEVELS = [
    ["p50_us", "p50"], ["p90_us", "p90"], ["p99_us", "p99"], ["p99_9_us", "p99.9"], ["p99_99_us", "p99.99"], ["max_us", "max"],
  ];
  const KINDS = [
    ["response", "response", "done − due: how long a user waits"],
    ["service", "service", "done − start: how long the system needed once it was asked"],
    ["send_lag", "send lag", "start − due: how late the instrument itself was"],
  ];
  const COLOURS = ["--c-1", "--c-2", "--c-3", "--c-4", "--c-5", "--c-6"];

  const colour = (at) => `var(${COLOURS[at % COLOURS.length]})`;
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

  return { isOwnPage, LEVELS, KINDS, colour, significant, duration, seconds, count, millis, make, shape, table, worst, badge };
})();
