// What ordershop-bench does to Locust's page: our tabs get their views, refusals their words, the start form its values.
(function () {
  "use strict";

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
    script.addEventListener("error", () => window.fetch(new URL("live", store.base), { method: "POST" }).catch(() => {}));
  }
  function refused(message) {
    let line = document.querySelector(".shopbench-refused");
    if (!line) {
      line = elements.make("p", undefined, "shopbench-refused");
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
    const { mounted } = live;
    const isThere = mounted.length && placed.key === key && placed.container === container && mounted.every((view) => view.root.isConnected);
    if (isThere) {
      const last = mounted[mounted.length - 1].root;
      if (container.lastElementChild !== last) container.append(last);
      return;
    }
    live.clear();
    placed = { key, container };
    if (!container) return;
    live.mount(key, (root, at, all) => {
      root.id = `${key}-${at}`;
      if (at < all - 1) container.insertBefore(root, container.children[1] || null);
      else container.append(root);
    });
    if (!mounted.length) return;
    live.show();
    live.wake(true);
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
    if (live.mounted.length) live.show();
  }));
  window.addEventListener("popstate", soon);
  place();
})();
