// The filter of the index: shows the runs of one scenario, or of one verdict, which stand in the address
// (#scenario=append&verdict=FAIL), so that a filtered list can be linked to and the way back works. Without this
// script, all runs are shown. Two boxes that are ticked make the command that compares these runs.
(function () {
  "use strict";
  const form = document.getElementById("filter");
  const select = document.getElementById("scenario");
  const verdict = document.getElementById("verdict");
  const shown = document.getElementById("shown");
  const named = [...document.querySelectorAll("[data-scenarios]")].map((element) => [
    element, new Set(JSON.parse(element.dataset.scenarios)),
  ]);

  function wanted(name) {
    return new URLSearchParams(location.hash.slice(1)).get(name) || "";
  }

  function choose(box, name) {
    box.value = [...box.options].some((option) => option.value === name) ? name : "";
  }

  function apply() {
    choose(select, wanted("scenario"));
    choose(verdict, wanted("verdict"));
    for (const [element, names] of named) element.hidden = select.value !== "" && !names.has(select.value);
    for (const row of document.querySelectorAll("[data-verdict]")) {
      const isOther = verdict.value !== "" && row.dataset.verdict !== verdict.value;
      row.hidden = isOther || (row.dataset.scenarios ? row.hidden : false);
    }
    const rows = document.querySelectorAll(".index tbody tr");
    const visible = [...rows].filter((row) => !row.hidden).length;
    shown.textContent = visible === rows.length ? "" : `${visible} of ${rows.length} runs`;
  }

  function changed() {
    const given = new URLSearchParams();
    for (const box of [select, verdict]) if (box.value) given.set(box.id, box.value);
    if (given.size) location.hash = given.toString();
    else history.replaceState(null, "", location.pathname + location.search);
    apply();
  }

  // A run's name is its directory's, and may be one that a shell takes apart.
  const quoted = (name) => (/^[\w.-]+$/.test(name) ? name : "'" + name.replaceAll("'", "'\\''") + "'");
  const boxes = [...document.querySelectorAll(".index input")];
  const links = new Map([...document.querySelectorAll("a[data-comparison]")].map((a) => [a.dataset.comparison, a.href]));

  function compare() {
    // The rows stand newest first, and what is older is what the newer one is set against.
    const names = boxes.filter((box) => box.checked).map((box) => box.value).reverse();
    document.getElementById("chosen").hidden = names.length === 0;
    document.getElementById("told").textContent =
      names.length < 2 ? "Tick one more run to compare it with." : "In the directory of these runs:";
    document.getElementById("command").textContent =
      names.length < 2 ? "" : "shopbench compare " + names.map(quoted).join(" ");
    const link = links.get(`compare-${names[0]}-${names.at(-1)}.html`);
    const there = document.createElement("a");
    Object.assign(there, { href: link, textContent: "the comparison that is there" });
    document.getElementById("comparison").replaceChildren(...(names.length > 1 && link ? [there] : []));
  }

  for (const box of boxes) box.addEventListener("change", compare);
  for (const cell of document.querySelectorAll(".index .pick")) cell.hidden = false;
  select.addEventListener("change", changed);
  verdict.addEventListener("change", changed);
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", apply);
  form.hidden = false;
  compare();
  apply();
})();
