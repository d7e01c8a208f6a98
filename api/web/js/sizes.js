// The choice of a size: one radio button a size, with what is left of it.

import { el, setText } from "./dom.js";
import { count } from "./format.js";

export class Sizes {
  #fieldset;
  #grid;
  #group;
  #onChoose;
  #options = new Map(); // size → {input, left}

  /** fieldset is the empty one of a card; onChoose() is told of every choice. */
  constructor(fieldset, dropId, onChoose) {
    this.#fieldset = fieldset;
    this.#grid = fieldset.querySelector(".sizes-grid");
    this.#group = `size-${dropId}`;
    this.#onChoose = onChoose;
  }

  /** The size that is chosen, or null. */
  get chosen() {
    for (const [size, { input }] of this.#options) if (input.checked) return size;
    return null;
  }

  /** Shows the stock of sizes. A size without any cannot be chosen, until a unit comes back. */
  show(sizes, locked) {
    this.#fieldset.hidden = sizes.length === 0;
    if (sizes.length !== this.#options.size || sizes.some(({ size }) => !this.#options.has(size))) this.#build(sizes);
    for (const { size, available_stock } of sizes) {
      const { input, left } = this.#options.get(size);
      input.disabled = locked || available_stock === 0;
      setText(left, available_stock > 0 ? `${count(available_stock)} left` : "Sold out");
    }
  }

  /** Puts the focus on the first size that can be chosen. */
  focus() {
    for (const { input } of this.#options.values()) if (!input.disabled) return input.focus();
  }

  #build(sizes) {
    const { chosen } = this;
    this.#options.clear();
    const labels = sizes.map(({ size }) => {
      const input = el("input", { type: "radio", name: this.#group, value: size, "data-testid": "size", "data-size": size });
      input.checked = size === chosen || sizes.length === 1;
      input.addEventListener("change", () => this.#onChoose());
      const left = el("span", { class: "size-left" });
      this.#options.set(size, { input, left });
      return el("label", { class: "size" }, input, el("span", { class: "size-name" }, size), left);
    });
    this.#grid.replaceChildren(...labels);
  }
}
