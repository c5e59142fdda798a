// The tab of faults: buttons for what can be broken by hand, and below them the ledger, which shows what came of it.
//
// Which buttons there are, and their words, is what the run says of its parts (`live.buttons`).
const faults = (function () {
  "use strict";
  const { count, isOwnPage, make } = elements;
  const IDLE = "Buttons are here while a load is running, in scenarios that have something to break.";
  const JUDGED = ["lost", "duplicated", "unexpected"];

  class Buttons {
    constructor() {
      this.node = make("div");
      this.answer = make("p", "", "answer");
      this.answer.setAttribute("role", "status");
      this.made = [];
      this.offered = "";
      this.isBusy = false;
    }

    // A row for each part of the system.
    offer(buttons) {
      const offered = JSON.stringify(buttons);
      if (offered === this.offered) return;
      this.offered = offered;
      this.made = buttons.map((told) => {
        const button = make("button", told.words, told.heals ? "heal" : "");
        button.type = "button";
        button.title = told.meaning;
        button.addEventListener("click", () => this.press(told, button));
        return [told, button];
      });
      this.node.replaceChildren(...[...new Set(buttons.map((told) => told.target))].map((target) => {
        const row = make("div", undefined, "buttons");
        row.setAttribute("role", "group");
        row.setAttribute("aria-label", "faults of the " + target.toUpperCase());
        row.append(...this.made.filter(([told]) => told.target === target).map(([, button]) => button));
        return row;
      }));
    }

    async press({ action, target }, button) {
      if (this.isBusy || button.getAttribute("aria-disabled") === "true") return;
      this.isBusy = true;
      this.say(button.textContent + " …");
      this.show();
      try {
        const response = await fetch(new URL("fault", store.base), {
          method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ action, target }),
        });
        const told = await response.json();
        this.say(told.message, !told.success);
      } catch (error) {
        this.say("Locust does not answer: " + error.message, true);
      }
      this.isBusy = false;
      live.wake(true);
    }
    say(words, isTrouble) {
      this.answer.textContent = words;
      this.answer.className = isTrouble ? "answer trouble" : "answer";
    }

    show() {
      const now = store.page && store.page.live;
      this.offer(now ? now.buttons : []);
      for (const [{ target, heals }, button] of this.made) {
        const isOpen = now.faults.some((fault) => fault.end_s === null && fault.target === target);
        button.setAttribute("aria-disabled", String(this.isBusy || !now.can_break || isOpen !== heals));
      }
      const can = now && now.can_break;
      if (!can && !this.isBusy && !this.answer.textContent) this.say(IDLE);
      if (can && this.answer.textContent === IDLE) this.say("");
    }
  }

  class Ledger {
    constructor() {
      this.heading = make("h3", "Ledger");
      this.note = make("p", "Events that were acknowledged to the producer, compared one by one with effects at the end of the line. Lost is known when everything has drained. Until then an event without an effect counts as waiting.", "note");
      this.tiles = make("dl", undefined, "tiles");
      this.spoken = make("p", "", "away");
      this.spoken.setAttribute("aria-live", "polite");
      this.spokenAt = 0;
      this.spokenKey = "";
      this.nodes = [this.heading, this.note, this.tiles, this.spoken];
    }

    show({ account, has_drained }) {
      this.heading.hidden = this.note.hidden = this.tiles.hidden = !account;
      if (!account) return;
      const rows = [
        // What was due, and the five that it adds up to.
        ...["due", "failed", "unknown", "dropped", "unanswered"].filter((name) => account[name] !== null).map((name) => [name, account[name]]),
        ["attempted", account.attempted], ["acknowledged", account.acknowledged], ["applied", account.applied], ["waiting", account.waiting],
        ["duplicated", account.duplicated], ["unexpected", account.unexpected, "open until the load ends"],
        ["lost", account.lost, has_drained === false ? "open: not drained" : "open until drained"],
      ];
      this.tiles.replaceChildren(...rows.map(([name, value, open]) => {
        const tile = make("div");
        tile.dataset.ledger = name;
        if (value === null) tile.className = "open";
        else if (JUDGED.includes(name)) tile.className = value ? "bad" : "good";
        tile.append(make("dt", name), make("dd", value === null ? open : count(value)));
        return tile;
      }));
      this.speak(account, rows);
    }

    // All numbers each second would drown a screen reader: what matters at once, the rest each ten seconds.
    speak(account, rows) {
      const key = [account.lost, account.duplicated, account.unexpected].join();
      if (key === this.spokenKey && (performance.now() - this.spokenAt < 10000 || account.lost !== null)) return;
      this.spokenKey = key;
      this.spokenAt = performance.now();
      this.spoken.textContent = "Ledger: " + rows.map(([name, value, open]) => name + " " + (value === null ? open : count(value))).join(", ") + ".";
    }
  }

  function view(root) {
    const doing = views.doingLine();
    const buttons = new Buttons();
    const ledger = new Ledger();
    const events = views.lagChart();
    const drawings = make("div", undefined, "charts");
    if (!isOwnPage) drawings.append(events.figure);
    root.append(doing.node, buttons.node, buttons.answer, ...ledger.nodes, drawings);
    return () => {
      doing.show();
      buttons.show();
      const now = store.page && store.page.live;
      if (!now) return;
      ledger.show(now);
      if (!isOwnPage) events.show();
    };
  }

  return { view };
})();
