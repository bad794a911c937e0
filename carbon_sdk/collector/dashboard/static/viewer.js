// What the browser knows of its viewer: the time zone, and whether light or dark is liked.

const YEAR_SECONDS = 31536000;

function remembered(name) {
  return document.cookie.split("; ").find((part) => part.startsWith(`${name}=`))?.slice(name.length + 1);
}

function remember(name, value) {
  document.cookie = `${name}=${value}; path=/dashboard; max-age=${YEAR_SECONDS}; samesite=strict`;
}

/** The server cuts days in the viewer's own zone. It learns the zone at the first visit, which loads once more. */
export function rememberZone() {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const zones = document.querySelector("datalist#zones");
  if (zones && own !== "UTC") {
    zones.append(new Option(own, own));
  }
  if (!own || remembered("carbon_sdk_tz") === own) {
    return;
  }
  remember("carbon_sdk_tz", own);
  const named = new URLSearchParams(location.search).has("tz");
  if (!named && own !== "UTC" && remembered("carbon_sdk_tz") === own) {
    location.reload();
  }
}

/** The list in the corner: light, dark, or as the system says; what was chosen holds for later pages. */
export function switchTheme() {
  const label = document.querySelector("[data-theme-switch]");
  const choice = label.querySelector("select");
  const root = document.documentElement;
  choice.value = root.dataset.theme ?? "";
  label.hidden = false;
  choice.addEventListener("change", () => {
    if (choice.value) {
      root.dataset.theme = choice.value;
    } else {
      delete root.dataset.theme;
    }
    remember("carbon_sdk_theme", choice.value);
    document.dispatchEvent(new Event("theme"));
  });
}

/** What folds out over a page folds in again at Escape, and where somebody clicks beside it. */
export function foldIn() {
  const open = () => document.querySelector("details.custom[open], .records details[open]");
  document.addEventListener("keydown", (event) => {
    const details = open();
    if (event.key === "Escape" && details) {
      details.open = false;
      details.querySelector("summary").focus();
    }
  });
  document.addEventListener("pointerdown", (event) => {
    const details = open();
    if (details && !details.contains(event.target)) {
      details.open = false;
    }
  });
}
