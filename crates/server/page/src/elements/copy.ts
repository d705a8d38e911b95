// A button that copies a snippet.

import { announce, h } from "../dom";
import { t } from "../text";

/** Copies a text, and says whether it worked. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    announce(t("copied"));
    return true;
  } catch {
    announce(t("copy_failed"));
    return false;
  }
}

/** Adds a button to an element that holds a `<pre>`. */
export function enhanceCopy(element: HTMLElement): void {
  const shown = element.querySelector("pre");
  if (!shown) return;
  const button = h("button", { type: "button", class: "quiet copy" }, t("copy"));
  button.addEventListener("click", async () => {
    button.textContent = (await copyText(shown.textContent ?? "")) ? t("copied") : t("copy_failed");
    setTimeout(() => (button.textContent = t("copy")), 2_000);
  });
  element.append(button);
}
