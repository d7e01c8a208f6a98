// Tells by voice when a drop sells out and when it is back. A drop that goes to
// and fro between the two is told of only when it has come to rest.

import { announce } from "./announce.js";

const REST = 1_500; // ms
const GAP = 10_000; // ms between two words about the same drop

export class StockNews {
  #known = null;
  #next = null;
  #timer = 0;
  #last = -GAP;

  /** Takes the phase of drop; listening says whether its buyer waits for such news. */
  tell(drop, phase, listening) {
    const stock = phase === "live" || phase === "soldout" ? phase : null;
    if (stock === this.#next) return;
    this.#next = stock;
    clearTimeout(this.#timer);
    if (this.#known === null || stock === null) {
      this.#known = stock;
      return;
    }
    const wait = Math.max(REST, this.#last + GAP - performance.now());
    this.#timer = setTimeout(() => {
      if (stock === this.#known) return;
      this.#known = stock;
      if (!listening || document.hidden) return;
      this.#last = performance.now();
      announce(stock === "live" ? `${drop.name} is back in stock.` : `${drop.name} is sold out.`);
    }, wait);
  }
}
