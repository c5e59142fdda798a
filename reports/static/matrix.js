// Sorts the table of a matrix by the column whose head is pressed, first up, then down. Without this script the
// table stands in the order of the file. What has no value stays last.
(function () {
  "use strict";
  const table = document.querySelector("table.cells");
  const body = table.tBodies[0];

  function keyOf(row, at) {
    const key = row.cells[at].dataset.key;
    return key === "" ? null : key;
  }

  function compared(one, other) {
    const numbers = [Number(one), Number(other)];
    return numbers.some(Number.isNaN) ? one.localeCompare(other) : numbers[0] - numbers[1];
  }

  function sort(head, at) {
    const isDown = head.getAttribute("aria-sort") === "ascending";
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
    const rows = [...body.rows].sort((a, b) => {
      const [one, other] = [keyOf(a, at), keyOf(b, at)];
      if (one === null || other === null) return (one === null) - (other === null);
      return isDown ? compared(other, one) : compared(one, other);
    });
    body.replaceChildren(...rows);
  }

  [...table.tHead.rows[0].cells].forEach((head, at) => {
    if (!head.dataset.sorts) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(head, at));
    head.replaceChildren(button);
  });
})();
