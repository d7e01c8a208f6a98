// The picture of one sale: its terms, its counts, its charts and its sizes.

import { stockBar } from "./chart-bar.js";
import { Charts } from "./console-charts.js";
import { reasons, refused } from "./console-watch.js";
import { standing, units } from "./console-words.js";
import { el, setAttribute, setText } from "./dom.js";
import { clock, fullTime, money } from "./format.js";
import { keyed } from "./keyed.js";
import { phase } from "./phase.js";

const byId = (id) => document.getElementById(id);
const figure = (name) => document.querySelector(`[data-testid="figure-${name}"]`);

export class Sale {
  constructor() {
    this.charts = new Charts((name) => byId(`chart-${name}`));
    this.counts = { available: figure("available"), held: figure("held"), sold: figure("sold"), total: figure("total") };
    this.sizes = new Map(); // size to row
    this.sizeParts = new Map(); // size to what changes in its row
    this.reasons = new Map(); // words to {entry, value}
    byId("window").addEventListener("change", ({ target }) => {
      this.charts.window = target.value === "all" ? Infinity : Number(target.value) * 1000;
      this.onWindow?.();
    });
  }

  /** Says in a line what the state of the picture is; "" for nothing to say. */
  say(words) {
    setText(byId("sale-note"), words);
  }

  /** Shows that there is no drop to show. */
  clear(title) {
    setText(byId("sale-title"), title);
    this.#reveal(false);
  }

  /** Shows a drop as it stands at a time (ms), with what its watch has seen. */
  show(drop, watch, now) {
    this.#reveal(true);
    setText(byId("sale-title"), drop.name);
    this.#terms(drop, now);
    setText(this.counts.available, units(drop.available_stock));
    setText(this.counts.held, units(drop.held));
    setText(this.counts.sold, units(drop.sold));
    setText(this.counts.total, units(drop.total_stock));
    this.charts.draw(watch, drop.total_stock, now);
    this.#sizes(drop.sizes);
    if (watch.figures) this.#figures(watch.figures);
  }

  #reveal(there) {
    for (const id of ["sale-body", "sale-state", "sale-link"]) byId(id).hidden = !there;
  }

  #terms(drop, now) {
    const key = phase(drop, now);
    const state = byId("sale-state");
    setText(state, standing(drop, now));
    setAttribute(state, "class", key === "live" ? "chip chip-accent" : "chip");
    setAttribute(byId("sale-link"), "href", pageOf(drop.id));
    const start = Date.parse(drop.start_time);
    const end = drop.end_time === null ? null : Date.parse(drop.end_time);
    setText(byId("sale-terms"), [
      `Drop ${drop.id}`,
      money(drop.price),
      start > now ? `opens in ${clock(start - now)}, ${fullTime(drop.start_time)}` : `opened ${fullTime(drop.start_time)}`,
      end === null ? "no end" : end > now ? `ends in ${clock(end - now)}, ${fullTime(drop.end_time)}` : `ended ${fullTime(drop.end_time)}`,
      `held for ${drop.hold_seconds} s`,
      drop.limit_per_customer === null ? "no limit per customer" : `${units(drop.limit_per_customer)} per customer`,
    ].join(" · "));
  }

  #sizes(sizes) {
    byId("sizes-sheet").hidden = sizes.length === 0;
    keyed(byId("sizes-rows"), this.sizes, sizes.map(({ size }) => size), (size) => this.#sizeRow(size));
    for (const size of sizes) {
      const { bar, cells } = this.sizeParts.get(size.size);
      bar.show(size);
      [size.available_stock, size.held, size.sold, size.stock].forEach((n, i) => setText(cells[i], units(n)));
    }
  }

  #sizeRow(size) {
    const bar = stockBar();
    const cells = Array.from({ length: 4 }, () => el("td", { class: "number" }));
    this.sizeParts.set(size, { bar, cells });
    return el("tr", {}, el("th", { scope: "row" }, size), el("td", { class: "wide" }, bar.element), ...cells);
  }

  #figures(figures) {
    for (const [words, n] of [["All refusals", refused(figures)], ...reasons(figures)]) {
      let value = this.reasons.get(words);
      if (!value) {
        this.reasons.set(words, (value = el("dd")));
        byId("reasons").append(el("div", {}, el("dt", {}, words), value));
      }
      setText(value, units(n));
    }
    const { overdue, restore_lag_ms: restore, sockets } = figures;
    const late = overdue > 0 ? `${units(overdue)}${overdue >= 1000 ? " or more" : ""} past their deadline and not back yet.` : "";
    setText(byId("restore-note"), late || (restore === null ? "No hold lapsed in the last 10 s." : "How late the latest lapsed holds came back."));
    setAttribute(byId("restore-note"), "class", late ? "chart-note bad" : "chart-note");
    setText(byId("clients-note"), `${units(sockets.websocket)} by WebSocket, ${units(sockets.socketio)} by Socket.IO, to this instance.`);
  }
}

/** Where buyers see a drop. */
export const pageOf = (id) => `/#drop-${id}`;
