// What comes after the page: asked for, and if it fails, told, with a button to ask again.

export async function ask(source) {
  const answer = await fetch(source);
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.error ?? `the collector answered ${answer.status}`);
  }
  return answer;
}

export function tellFailure(place, error, again) {
  const line = document.createElement("p");
  line.className = "failed";
  line.setAttribute("role", "alert");
  line.textContent = `This could not be loaded: ${error.message}. `;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Try again";
  button.addEventListener("click", again);
  line.append(button);
  place.replaceChildren(line);
}

/** Parts of a page that are made at the server when the rest stands already. */
export function fillFragments(made) {
  for (const place of document.querySelectorAll("[data-fragment]")) {
    const fill = async () => {
      try {
        place.innerHTML = await (await ask(place.dataset.fragment)).text();
        made(place);
      } catch (error) {
        tellFailure(place, error, fill);
      }
    };
    fill();
  }
}
