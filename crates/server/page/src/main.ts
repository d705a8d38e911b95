// Every page loads this. What a page does not have is not loaded: editor, charts and maps come when their element is
// there, and near the window.

import { h } from "./dom";
import { reason } from "./api";
import { enhanceCopy } from "./elements/copy";
import { enhanceRefresh } from "./elements/refresh";
import { enhanceSearch } from "./elements/search";
import { enhanceTheme } from "./elements/theme";
import { t } from "./text";

/** Something that takes over an element of the page. */
type Enhance = (element: HTMLElement) => void | Promise<void>;

// Chart libraries are loaded when a chart is this close to what is seen.
const NEAR = "400px";

function guarded(enhance: Enhance): (element: HTMLElement) => void {
  return (element) => {
    // What the page showed before is left as it is, so that nothing is lost but the comfort.
    Promise.resolve()
      .then(() => enhance(element))
      .catch((error: unknown) => {
        element.append(h("p", { class: "error", role: "alert" }, t("not_loaded", { reason: reason(error) })));
      });
  };
}

function each(name: string, enhance: Enhance): void {
  document.querySelectorAll<HTMLElement>(name).forEach(guarded(enhance));
}

function whenNear(name: string, enhance: Enhance): void {
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        watcher.unobserve(entry.target);
        guarded(enhance)(entry.target as HTMLElement);
      }
    },
    { rootMargin: NEAR },
  );
  document.querySelectorAll(name).forEach((element) => watcher.observe(element));
}

enhanceTheme();
each("hb-search", enhanceSearch);
each("hb-copy", enhanceCopy);
each("hb-refresh", enhanceRefresh);
each("hb-workbench", async (element) => (await import("./workbench/workbench")).enhanceWorkbench(element));
whenNear("hb-chart", async (element) => (await import("./elements/chart")).enhanceChart(element));
whenNear("hb-map", async (element) => (await import("./elements/map")).enhanceMap(element));
whenNear("hb-vintages", async (element) => (await import("./elements/vintages")).enhanceVintages(element));
