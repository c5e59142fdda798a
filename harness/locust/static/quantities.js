// Numbers with units, word for word as `reports/quantities.py` writes them: for what hovers over a report's
// charts, and for Locust's page during a run. A test runs both over the same values.
//
// A page includes it before its own script, and finds `quantities` there.
const quantities = (function () {
  "use strict";
  const NOT_MEASURED = "not measured";
  const MICROSECONDS = new Map([["ns", 1e-3], ["µs", 1], ["us", 1], ["ms", 1e3], ["s", 1e6]]);
  const COUNTS = new Set([
    "events", "event", "operations", "messages", "runs", "1",
    "fsyncs", "outages", "pauses", "rounds", "trims", "users", "values", "workers",
  ]);

  // To so many significant digits. Halfway between two, Python takes the even one, `toPrecision` the larger one.
  function rounded(value, digits = 3) {
    const exact = value.toExponential(40).replace(".", "");
    const end = digits + (value < 0);
    const isHalfway = /^50*e/.test(exact.slice(end));
    if (!isHalfway || exact[end - 1] % 2) return Number(value.toPrecision(digits));
    const [kept, power] = [exact.slice(0, end), Number(exact.slice(exact.indexOf("e") + 1))];
    return Number(kept + "e" + (power - digits + 1));
  }
  function halfEven(value) {
    const near = Math.round(value);
    return near - value === 0.5 && near % 2 ? near - 1 : near;
  }

  // 0.0123, 1.24, 18.7, 132, 40,100.
  function significant(value, digits = 3) {
    if (value === 0) return "0";
    const near = rounded(value, digits);
    const places = Math.min(9, Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(near)))));
    return near.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places });
  }
  // The same without zeros at its end, as a tick of an axis wants it.
  function plain(value, digits = 3) {
    return rounded(value, digits).toLocaleString("en-US", { maximumFractionDigits: 9 });
  }
  // A count in full; a fraction only where there is one.
  function grouped(value) {
    return Number.isInteger(value) ? value.toLocaleString("en-US") : significant(value);
  }

  function seconds(value, said = significant) {
    if (Math.abs(value) < 120) return said(value) + " s";
    const whole = halfEven(Math.abs(value));
    return (value < 0 ? "−" : "") + (whole < 7200
      ? Math.floor(whole / 60) + " min " + (whole % 60) + " s"
      : Math.floor(whole / 3600) + " h " + Math.floor((whole % 3600) / 60) + " min");
  }
  function duration(micros, said = significant) {
    const size = Math.abs(rounded(micros));
    if (size < 1e3) return said(micros) + " µs";
    if (size < 1e6) return said(micros / 1e3) + " ms";
    return seconds(micros / 1e6, said);
  }

  function share(value) {
    // What is short of the whole never reads as the whole: 99.99 %, not 100 %.
    let digits = 3;
    while (digits < 10 && value < 1 && rounded(100 * value, digits) >= 100) digits += 1;
    return significant(100 * value, digits) + " %";
  }
  // In the largest unit of which it is at least one.
  function scaled(value, units, otherwise) {
    const size = Math.abs(rounded(value));
    const [factor, word] = units.find(([each]) => size >= each) ?? [];
    return factor ? significant(value / factor) + " " + word : otherwise(value);
  }
  const rate = (value) => scaled(value, [[1e9, "G"], [1e6, "M"], [1e3, "k"]], significant);
  const bytes = (value) => scaled(
    value, [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]], (few) => grouped(few) + " bytes",
  );

  function quantity(value, unit) {
    if (!Number.isFinite(value)) return NOT_MEASURED;
    if (MICROSECONDS.has(unit)) return value === 0 ? "0 " + unit : duration(value * MICROSECONDS.get(unit));
    if (unit.endsWith("/s")) return rate(value) + (unit === "1/s" || unit === "/s" ? "/s" : " " + unit);
    if (unit === "bytes" || unit === "B") return bytes(value);
    if (unit === "share" || unit === "ratio") return share(value);
    if (COUNTS.has(unit)) return grouped(value) + (unit === "1" ? "" : " " + unit);
    return (significant(value) + " " + unit).trimEnd();
  }

  // A time within a run, and a percentile by its place on an axis of nines.
  function clock(value) {
    return value < 120 ? significant(value, 4) + " s" : duration(value * 1e6);
  }
  function percentile(x) {
    return x > 1 ? (100 * (1 - 1 / x)).toPrecision(7).replace(/\.?0+$/, "") + " %" : "0 %";
  }

  return { significant, plain, grouped, seconds, duration, quantity, clock, percentile };
})();
