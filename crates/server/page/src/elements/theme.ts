// The switch between the system's theme, light and dark. The choice is a cookie, so that the server writes the next page
// in it and nothing flickers.

import { t } from "../text";

const THEMES = ["auto", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

const COOKIE = "hambar_theme";
const YEAR_SECONDS = 31_536_000;

function now(): Theme {
  const theme = document.documentElement.dataset["theme"];
  return THEMES.find((known) => known === theme) ?? "auto";
}

function keep(theme: Theme): void {
  const safe = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${COOKIE}=${theme}; Path=/; Max-Age=${YEAR_SECONDS}; SameSite=Lax${safe}`;
}

/** Shows the switch and makes it work. */
export function enhanceTheme(): void {
  for (const button of document.querySelectorAll<HTMLButtonElement>("button[data-theme-switch]")) {
    const say = (): void => {
      button.textContent = `${t("theme")}: ${t(`theme_${now()}`)}`;
    };
    button.addEventListener("click", () => {
      const next = THEMES[(THEMES.indexOf(now()) + 1) % THEMES.length] ?? "auto";
      document.documentElement.dataset["theme"] = next;
      keep(next);
      say();
    });
    say();
    button.hidden = false;
  }
}
