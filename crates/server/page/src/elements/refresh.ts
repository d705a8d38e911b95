// A part of a page that is fetched again every few seconds, until the visitor stops it.

import { ask } from "../api";
import { h } from "../dom";
import { t } from "../text";

const SECONDS_MIN = 2;

/** Keeps an element as the server would write it now. */
export function enhanceRefresh(element: HTMLElement): void {
  const seconds = Math.max(SECONDS_MIN, Number(element.dataset["seconds"]) || 10);
  const places = [...document.querySelectorAll("hb-refresh")];
  const place = places.indexOf(element);
  let isPaused = false;
  const button = h("button", { type: "button", class: "quiet" }, t("pause"));
  button.addEventListener("click", () => {
    isPaused = !isPaused;
    button.textContent = t(isPaused ? "resume" : "pause");
  });
  element.before(h("p", { class: "actions" }, button));
  const look = async (): Promise<void> => {
    // Nobody looks at a hidden tab; and what someone reads or works in is not pulled away.
    const isInUse = element.contains(document.activeElement) || element.querySelector("details[open]") !== null;
    if (isPaused || document.hidden || isInUse) return;
    const response = await ask(location.href, { headers: { accept: "text/html" } });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.querySelectorAll("hb-refresh").item(place);
    if (fresh && fresh.innerHTML !== element.innerHTML) element.replaceChildren(...fresh.childNodes);
  };
  const again = (): void => {
    setTimeout(() => {
      // A server that does not answer now is asked again at the next turn.
      look().then(again, again);
    }, seconds * 1000);
  };
  again();
}
