// The ring that runs out with a hold.

import { el, setAttribute, setText, svg } from "./dom.js";
import { clock } from "./format.js";

const RADIUS = 34;
const LENGTH = 2 * Math.PI * RADIUS;

/** A ring and the time in its middle; set() shows what is left. */
export class Ring {
  element;
  #arc;
  #text;

  constructor() {
    const circle = { cx: 40, cy: 40, r: RADIUS };
    this.#arc = svg("circle", { ...circle, class: "ring-left", "stroke-dasharray": LENGTH.toFixed(2), transform: "rotate(-90 40 40)" });
    this.#text = el("span", { class: "ring-time", role: "timer", "aria-label": "Time left to buy", "data-testid": "hold-remaining" });
    this.element = el(
      "div",
      { class: "ring" },
      svg("svg", { viewBox: "0 0 80 80", "aria-hidden": "true", "data-testid": "hold-ring" }, svg("circle", { ...circle, class: "ring-track" }), this.#arc),
      this.#text,
    );
  }

  /** Shows left of whole, both in ms. */
  set(left, whole) {
    const part = Math.min(1, Math.max(0, whole > 0 ? left / whole : 0));
    setAttribute(this.#arc, "stroke-dashoffset", (LENGTH * (1 - part)).toFixed(2));
    setText(this.#text, clock(left));
    this.element.classList.toggle("is-short", left < 15_000);
  }
}
