// Small helpers for making elements. Styles are set through classes only, so that the page's policy holds.

type Child = Node | string | null | undefined;
type Attributes = Record<string, string | number | boolean | null | undefined | ((event: never) => void)>;

function fill(element: Element, attributes: Attributes, children: Child[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") {
      element.addEventListener(name.replace(/^on/, ""), value as EventListener);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  for (const child of children) {
    if (child !== null && child !== undefined) element.append(child);
  }
}

/** Makes an HTML element: attributes, listeners (`onclick`), children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  fill(element, attributes, children);
  return element;
}

/** Makes an SVG element. */
export function svg<K extends keyof SVGElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  fill(element, attributes, children);
  return element;
}

let last = 0;

/** Returns an id that no other element of the page has. */
export function newId(stem: string): string {
  last += 1;
  return `hb-${stem}-${last}`;
}

/** Makes a labelled `<select>`. */
export function choice(
  label: string,
  options: readonly (readonly [value: string, text: string])[],
  value: string,
  changed: (value: string) => void,
): HTMLLabelElement {
  const select = h("select", { onchange: () => changed(select.value) });
  for (const [option, text] of options) select.append(h("option", { value: option }, text));
  select.value = value;
  return h("label", { class: "field" }, h("span", {}, label), select);
}

/** Makes a labelled checkbox. */
export function tick(label: string, on: boolean, changed: (on: boolean) => void): HTMLLabelElement {
  const box = h("input", { type: "checkbox", onchange: () => changed(box.checked) });
  box.checked = on;
  return h("label", { class: "tick" }, box, h("span", {}, label));
}

/** Replaces what an element holds. */
export function show(element: Element, ...children: Child[]): void {
  element.replaceChildren(...children.filter((child): child is Node | string => child !== null && child !== undefined));
}

let region: HTMLElement | undefined;

/** Tells people who use a screen reader what has changed. */
export function announce(text: string): void {
  if (!region) {
    region = h("div", { class: "unseen", role: "status", "aria-live": "polite" });
    document.body.append(region);
  }
  region.textContent = text;
}

/** Says whether the visitor wants things to stand still. */
export function isCalm(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Calls `work` once, `milliseconds` after the last call. */
export function later<A extends unknown[]>(milliseconds: number, work: (...values: A) => void): (...values: A) => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), milliseconds);
  };
}
