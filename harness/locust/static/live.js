// What ordershop-bench shows of a run while it lasts, in the tabs of its own in Locust's page, and on its own page.
//
//   quantities    numbers with units
//   elements      parts of a page
//   store         what came so far
//   charts        lines over time, with faults
//   views, percentiles, faults     what stands in a tab: each builds its part once, and is told to show the store
//   live          asks live?since=... once a second, while something of ours is to be seen and the page is not hidden
//   locust_page   in Locust's page: puts the views of the tab that is open where Locust would put its own
//
// Each is a script that a page includes in this order (page.html; Locust's page gets the same, and the last one).
// Modules would be asked for with an Origin, which a proxy that changes Host makes another site's.
const live = (function () {
  "use strict";
  const { isOwnPage, make } = elements;
  const PERIOD_MS = 1000;
  const VIEWS = {
    "shopbench-head": [views.head],
    "shopbench-run": [views.run],
    "shopbench-lag": [views.lag],
    "shopbench-percentiles": [percentiles.intro, percentiles.tables],
    "shopbench-faults": [faults.view],
    "shopbench-report": [views.report],
  };
  const mounted = [];
  let timer = null;
  let asking = false;

  function isDark() {
    if (isOwnPage) return window.matchMedia("(prefers-color-scheme: dark)").matches;
    const [red, green, blue, alpha] = (getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g) || []).map(Number);
    if (red === undefined || alpha === 0) return window.matchMedia("(prefers-color-scheme: dark)").matches;
    return red * 0.3 + green * 0.6 + blue * 0.1 < 128;
  }
  function show() {
    const dark = isDark();
    if (isOwnPage) document.body.dataset.dark = dark;
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
      const response = await fetch(new URL("live?since=" + encodeURIComponent(store.cursor), store.base), { cache: "no-store" });
      if (!response.ok) throw new Error("it answered " + response.status + (response.status === 403 ? ", " + (await response.json()).message : ""));
      const page = await response.json();
      store.take(page);
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

  // Build the views of a tab; `place` puts each root where it belongs, by its number and how many there are.
  function mount(tab, place) {
    const made = VIEWS[tab] || [];
    made.forEach((view, at) => {
      const root = make("div", undefined, "shopbench");
      place(root, at, made.length);
      mounted.push({ root, show: view(root) });
    });
  }
  function clear() {
    for (const view of mounted.splice(0)) view.root.remove();
  }

  if (isOwnPage) {
    for (const place of document.querySelectorAll("[data-view]")) mount(place.dataset.view, (root) => place.append(root));
    show();
    ask();
  }
  return { mounted, mount, clear, show, wake };
})();
