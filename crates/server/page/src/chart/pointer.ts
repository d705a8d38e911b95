// What is shown beside the pointer, and for the arrow keys: the values at one place of a chart or map.

import { announce, h, show } from "../dom";
import { type Scene, type Stop, colour } from "./draw";

/** A small box that follows the pointer. */
export class Hint {
  readonly element = h("div", { class: "hint", hidden: true, "aria-hidden": "true" });

  /** Shows lines of text beside a place in the element that holds the box. */
  show(x: number, y: number, title: string, lines: readonly { colour?: string; text: string; value: string }[]): void {
    const rows = lines.map(({ colour: mark, text, value }) =>
      h("li", {}, mark === undefined ? null : h("i", { class: `swatch ${mark}` }), h("span", {}, text), h("b", {}, value)),
    );
    show(this.element, h("strong", {}, title), h("ul", {}, ...rows));
    this.element.hidden = false;
    const room = this.element.parentElement?.clientWidth ?? 0;
    const width = this.element.offsetWidth;
    const left = x + 14 + width > room ? x - 14 - width : x + 14;
    this.element.style.left = `${Math.max(0, Math.min(left, room - width))}px`;
    this.element.style.top = `${Math.max(0, y - this.element.offsetHeight / 2)}px`;
  }

  hide(): void {
    this.element.hidden = true;
  }
}

const ITEMS_MAX = 14;

/** Makes a scene answer to the pointer and to the arrow keys. */
export function follow(frame: HTMLElement, scene: Scene, hint: Hint): void {
  if (scene.stops.length === 0) return;
  const cross = document.createElementNS("http://www.w3.org/2000/svg", "line");
  cross.setAttribute("class", "cross");
  if (scene.by === "x") scene.element.append(cross);
  let current = -1;
  const go = (index: number, isSpoken: boolean): void => {
    current = Math.min(scene.stops.length - 1, Math.max(0, index));
    const stop = scene.stops[current];
    if (!stop) return;
    cross.setAttribute("class", "cross on");
    for (const [name, value] of Object.entries({ x1: stop.x, x2: stop.x, y1: 10, y2: Number(scene.element.getAttribute("height")) - 30 })) {
      cross.setAttribute(name, String(value));
    }
    const shown = stop.items.slice(0, ITEMS_MAX);
    const lines = shown.map(({ index: place, name, value }) => ({ colour: colour(place), text: name, value }));
    hint.show(stop.x + scene.element.clientLeft, stop.y, stop.title, lines);
    if (isSpoken) announce(`${stop.title}: ${shown.map(({ name, value }) => `${name} ${value}`).join(", ")}`);
  };
  const leave = (): void => {
    cross.setAttribute("class", "cross");
    hint.hide();
  };
  frame.addEventListener("pointermove", (event) => {
    const box = scene.element.getBoundingClientRect();
    go(nearest(scene, event.clientX - box.left, event.clientY - box.top), false);
  });
  frame.addEventListener("pointerleave", leave);
  frame.addEventListener("blur", leave);
  frame.addEventListener("keydown", (event) => {
    const steps: Record<string, number> = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const ends: Record<string, number> = { Home: 0, End: scene.stops.length - 1 };
    const step = steps[event.key];
    const end = ends[event.key];
    if (event.key === "Escape") leave();
    if (step === undefined && end === undefined) return;
    event.preventDefault();
    go(end ?? current + (step ?? 0), true);
  });
}

function nearest(scene: Scene, x: number, y: number): number {
  const distance = (stop: Stop): number => {
    if (scene.by === "x") return Math.abs(stop.x - x);
    return scene.by === "y" ? Math.abs(stop.y - y) : (stop.x - x) ** 2 + (stop.y - y) ** 2;
  };
  let best = 0;
  scene.stops.forEach((stop, index) => {
    const other = scene.stops[best];
    if (other && distance(stop) < distance(other)) best = index;
  });
  return best;
}
