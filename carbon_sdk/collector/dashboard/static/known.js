// Beside a figure, on hover and on focus: how it is known. One note in the top layer serves all figures.

let note;
let shownFor;

function line(name, text) {
  const [made, left, right] = ["span", "b", "span"].map((tag) => document.createElement(tag));
  made.className = "known-line";
  left.textContent = name;
  right.textContent = text;
  made.append(left, " ", right);
  return made;
}

function show(figure) {
  if (shownFor === figure) {
    return;
  }
  const lines = JSON.parse(figure.dataset.known).map(([name, text]) => line(name, text));
  if (figure.href) {
    const hint = line("", "");
    hint.className = "known-hint";
    hint.textContent = "Follow it to the records behind it.";
    lines.push(hint);
  }
  note.replaceChildren(...lines);
  shownFor?.removeAttribute("aria-describedby");
  shownFor = figure;
  figure.setAttribute("aria-describedby", note.id);
  note.showPopover();
  place(figure.getBoundingClientRect());
}

function place(figure) {
  const own = note.getBoundingClientRect();
  const below = figure.bottom + 8 + own.height < innerHeight;
  note.style.left = `${Math.max(8, Math.min(figure.left, innerWidth - own.width - 12))}px`;
  note.style.top = `${below ? figure.bottom + 6 : Math.max(8, figure.top - own.height - 6)}px`;
}

function hide() {
  shownFor?.removeAttribute("aria-describedby");
  shownFor = undefined;
  if (note.matches(":popover-open")) {
    note.hidePopover();
  }
}

export function showKnown() {
  note = document.createElement("div");
  note.id = "known-note";
  note.className = "known-note";
  note.setAttribute("role", "tooltip");
  note.popover = "manual";
  document.body.append(note);
  const figureOf = (event) => event.target.closest?.("[data-known]");
  document.addEventListener("pointerover", (event) => {
    const figure = figureOf(event);
    if (figure) {
      show(figure);
    } else if (!event.target.closest?.(".known-note") && shownFor !== document.activeElement) {
      hide();
    }
  });
  document.addEventListener("focusin", (event) => (figureOf(event) ? show(figureOf(event)) : hide()));
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.addEventListener("scroll", hide, { passive: true, capture: true });
}
