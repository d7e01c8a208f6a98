// All cards, in order.

import { Card } from "./card.js";
import { now } from "./clock.js";
import { byInterest } from "./phase.js";

const QUIET = 15_000; // ms without a hand on the page

export class Shelf {
  #element;
  #options;
  #cards = new Map();
  #touched = 0;

  /** options are those of a Card. */
  constructor(element, options) {
    this.#element = element;
    this.#options = options;
    for (const kind of ["pointermove", "pointerdown", "keydown", "scroll"]) {
      addEventListener(kind, () => (this.#touched = performance.now()), { passive: true });
    }
    document.addEventListener("visibilitychange", () => document.hidden && this.sort());
  }

  get size() {
    return this.#cards.size;
  }

  /** Shows a new drop at its place, or the newer state of one. */
  put(drop) {
    const known = this.#cards.get(drop.id);
    if (known) {
      known.update(drop);
      return;
    }
    const card = new Card(drop, this.#options);
    const order = byInterest(now());
    const after = [...this.#element.children].find((e) => order(drop, this.#card(e).drop) < 0);
    this.#cards.set(drop.id, card);
    this.#element.insertBefore(card.element, after ?? null);
  }

  /** Shows all cards anew, as after a change of the connection. */
  render() {
    for (const card of this.#cards.values()) card.render();
  }

  /** Follows the clock. */
  tick() {
    const at = now();
    for (const card of this.#cards.values()) card.tick(at);
    this.#sortWhenQuiet();
  }

  /** Shows what another tab did with drop id. */
  follow(id) {
    this.#cards.get(id)?.buying.follow();
  }

  /** The card whose hold ends first, or undefined. */
  get mostUrgent() {
    const held = [...this.#cards.values()].filter(({ buying }) => buying.hold);
    return held.sort((a, b) => a.buying.hold.expires - b.buying.hold.expires)[0];
  }

  /** When the next drop starts, in ms of the server's clock, or Infinity. */
  get nextStart() {
    const at = now();
    const starts = [...this.#cards.values()].map(({ drop }) => Date.parse(drop.start_time));
    return Math.min(Infinity, ...starts.filter((start) => start > at));
  }

  /** Puts the cards in order. */
  sort() {
    const drops = [...this.#cards.values()].map(({ drop }) => drop).sort(byInterest(now()));
    const order = drops.map(({ id }) => this.#cards.get(id).element);
    if (order.every((element, i) => element === this.#element.children[i])) return;
    this.#element.append(...order);
  }

  // A card that moves while somebody aims at it makes them press another's
  // button: cards change places only when no hand is on the page.
  #sortWhenQuiet() {
    if (performance.now() - this.#touched < QUIET) return;
    if (this.#element.contains(document.activeElement) || document.querySelector("dialog[open]")) return;
    if ([...this.#cards.values()].some(({ buying }) => buying.hold || buying.busy)) return;
    this.sort();
  }

  #card(element) {
    return this.#cards.get(Number(element.dataset.dropId));
  }
}
