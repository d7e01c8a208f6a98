// The list of drops to choose from.

import { stockBar } from "./chart-bar.js";
import { standing, units } from "./console-words.js";
import { el, setAttribute, setText } from "./dom.js";
import { clock } from "./format.js";
import { keyed } from "./keyed.js";
import { phase } from "./phase.js";

const COUNTDOWN = 60 * 60_000; // ms before the start from which on the list counts down

/** Shows drops in a list; the chosen one is marked. Each links to its id in the hash. */
export class DropList {
  constructor(list) {
    this.list = list;
    this.nodes = new Map(); // id to li
    this.items = new Map(); // id to the parts of it that change
  }

  /** Shows the drops, newest first. */
  show(drops, chosen, now) {
    const byId = new Map(drops.map((drop) => [drop.id, drop]));
    const ids = [...byId.keys()].sort((a, b) => b - a);
    keyed(this.list, this.nodes, ids, (id) => this.#make(id));
    for (const id of this.items.keys()) if (!byId.has(id)) this.items.delete(id);
    for (const drop of drops) this.#update(drop, drop.id === chosen, now);
  }

  /** Scrolls the list, and only the list, to the chosen drop. */
  reveal(id) {
    const node = this.nodes.get(id);
    if (!node) return;
    const { top, bottom } = node.getBoundingClientRect();
    const view = this.list.getBoundingClientRect();
    if (top < view.top) this.list.scrollTop -= view.top - top;
    else if (bottom > view.bottom) this.list.scrollTop += bottom - view.bottom;
  }

  #make(id) {
    const name = el("span", { class: "drop-name" });
    const state = el("span", { class: "chip" });
    const counts = el("span", { class: "drop-counts" });
    const bar = stockBar();
    const link = el("a", { href: `#${id}`, class: "drop-item", "data-testid": "drop-item", "data-drop-id": id },
      el("span", { class: "drop-head" }, name, state), bar.element, counts);
    this.items.set(id, { link, name, state, counts, bar, drop: null });
    return el("li", {}, link);
  }

  #update(drop, isChosen, now) {
    const item = this.items.get(drop.id);
    setAttribute(item.link, "aria-current", isChosen ? "true" : null);
    const key = phase(drop, now);
    const wait = Date.parse(drop.start_time) - now;
    setText(item.state, key === "upcoming" && wait < COUNTDOWN ? `Opens in ${clock(wait)}` : standing(drop, now));
    setAttribute(item.state, "class", key === "live" ? "chip chip-accent" : "chip");
    if (item.drop === drop) return; // a drop is replaced, never changed
    item.drop = drop;
    setText(item.name, drop.name);
    setText(item.counts, `${units(drop.available_stock)} available, ${units(drop.held)} held, ${units(drop.sold)} sold`);
    item.bar.show(drop);
  }
}
