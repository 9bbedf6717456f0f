// A cell with data-value sorts by that number and comes last where it is empty; any other by its text.
document.querySelectorAll("table.sorts").forEach(table => {
  const body = table.tBodies[0], headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
    const down = heading.getAttribute("aria-sort") !== "descending";
    headings.forEach(other => other.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].map(row => {
      const cell = row.cells[column], number = cell.dataset.value;
      return {row, known: number !== "", key: number === undefined ? cell.textContent : Number(number)};
    });
    const compare = new Intl.Collator(undefined, {numeric: true}).compare;
    const order = (a, b) => typeof a.key === "string" ? compare(a.key, b.key) : a.key - b.key;
    rows.sort((a, b) => b.known - a.known || (a.known ? order(a, b) * (down ? -1 : 1) : 0));
    body.append(...rows.map(each => each.row));
  }));
});
