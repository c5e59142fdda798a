// The filter of the index: shows the runs of one scenario, whose name stands in the address (#scenario=append),
// so that a filtered list can be linked to and the way back works. Without this script, all runs are shown.
(function () {
  "use strict";
  const form = document.getElementById("filter");
  const select = document.getElementById("scenario");
  const shown = document.getElementById("shown");
  const named = [...document.querySelectorAll("[data-scenarios]")].map((element) => [
    element, new Set(JSON.parse(element.dataset.scenarios)),
  ]);

  function wanted() {
    const match = /^#scenario=(.*)$/.exec(location.hash);
    if (!match) return "";
    try {
      return decodeURIComponent(match[1]);
    } catch {
      return ""; // an address that somebody has cut off
    }
  }

  function apply() {
    const name = wanted();
    const known = [...select.options].some((option) => option.value === name);
    select.value = known ? name : "";
    for (const [element, names] of named) element.hidden = select.value !== "" && !names.has(select.value);
    const rows = document.querySelectorAll(".index tbody tr");
    const visible = [...rows].filter((row) => !row.hidden).length;
    shown.textContent = visible === rows.length ? "" : `${visible} of ${rows.length} runs`;
  }

  select.addEventListener("change", () => {
    if (select.value) location.hash = "scenario=" + encodeURIComponent(select.value);
    else history.replaceState(null, "", location.pathname + location.search);
    apply();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", apply);
  form.hidden = false;
  apply();
})();
