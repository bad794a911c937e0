// Tables that can be ordered by a column and narrowed by a word, and the heat map that is walked with the arrow keys.

function valueOf(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.value === undefined) {
    return cell.textContent.trim().toLowerCase();
  }
  return cell.dataset.value === "" ? -Infinity : Number(cell.dataset.value);
}

function order(table, column, down) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
  rows.sort(([one], [other]) => (one < other ? -1 : Number(one > other)) * (down ? -1 : 1));
  body.append(...rows.map(([, row]) => row));
  foldAway(table);
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    if (place === column) {
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    } else {
      head.removeAttribute("aria-sort");
    }
  });
}

/** Of a long table the first rows are shown, of those that are looked for, until all are asked for. */
function foldAway(table) {
  const most = Number(moreOf(table)?.dataset.all ?? Infinity);
  let place = 0;
  for (const row of table.tBodies[0].rows) {
    row.classList.toggle("more", place >= most);
    place += Number(!row.hidden);
  }
}

const moreOf = (table) => table.closest(".card").querySelector("[data-all]");

function makeUnfoldable(table) {
  moreOf(table)?.addEventListener("click", (event) => {
    event.preventDefault();
    table.classList.add("all");
    event.target.parentElement.remove();
  });
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numbers = table.tBodies[0].rows[0]?.cells[column].dataset.value !== undefined;
      const now = head.getAttribute("aria-sort");
      order(table, column, now ? now === "ascending" : numbers);
    });
  });
  table.tHead.rows[0].cells[2].setAttribute("aria-sort", "descending");
}

function makeFilterable(card, table) {
  const label = card.querySelector("[data-filter]");
  const shown = card.querySelector("[data-count]");
  if (!label) {
    return;
  }
  const before = shown.textContent;
  label.hidden = false;
  label.querySelector("input").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    let count = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
      count += Number(!row.hidden);
    }
    foldAway(table);
    shown.textContent = wanted ? `${count} match` : before;
  });
}

const STEPS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };

function walk(map) {
  map.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    const cell = event.target.closest("td");
    if (!step || !cell) {
      return;
    }
    const next = map.tBodies[0].rows[cell.parentElement.sectionRowIndex + step[0]]?.cells[cell.cellIndex + step[1]];
    if (next?.tagName === "TD") {
      cell.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }
    event.preventDefault();
  });
}

export function makeWalkable(place) {
  place.querySelectorAll("[data-heat]").forEach(walk);
}

export function bringSheetsToLife() {
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    makeSortable(table);
    makeUnfoldable(table);
    makeFilterable(table.closest(".card"), table);
  }
  makeWalkable(document);
}
