// The charts of the sale, and the stretch of time they show together.

import { chart } from "./chart.js";
import { clients, entries, millis, perSecond, seconds, tick, timeOfDay, units } from "./console-words.js";

const SHORTEST = 30_000; // ms shown at least

export class Charts {
  /** @param figure(id)  the figure of the page for a chart: stock, rates, entries, lag, restore or clients. */
  constructor(figure) {
    const one = (id, options) => chart({ figure: figure(id), tick, clock: timeOfDay, ...options });
    const alone = (label, name, id) => [{ label, name, testid: `figure-${id}` }];
    this.window = 120_000; // ms shown at most; Infinity: all
    this.charts = {
      stock: one("stock", {
        series: [{ label: "Sold", name: "sold" }, { label: "Held", name: "held" }, { label: "Available", name: "available" }],
        stacked: true, step: true, whole: true, format: units,
      }),
      rates: one("rates", {
        series: [
          { label: "Reservations", name: "reservations", testid: "figure-reservations" },
          { label: "Refusals", name: "refusals", testid: "figure-refusals" },
        ],
        least: 5, whole: true, format: perSecond,
      }),
      entries: one("entries", { series: alone("Now", "plain", "ledger"), least: 5, whole: true, format: entries }),
      lag: one("lag", { series: alone("Now", "plain", "ledger-lag"), least: 0.5, format: seconds }),
      restore: one("restore", { series: alone("Now", "plain", "restore"), least: 10, whole: true, format: millis }),
      clients: one("clients", { series: alone("Now", "plain", "clients"), least: 5, whole: true, format: clients }),
    };
  }

  /** Draws what a watch has seen up to now (ms). */
  draw(watch, total, now) {
    // A watch that began a moment ago fills the chart too: there is nothing to see before it.
    const from = Math.min(now - SHORTEST, Math.max(now - this.window, watch.begun));
    for (const [name, { draw }] of Object.entries(this.charts)) {
      draw({ points: watch[name].since(from), from, to: now, top: name === "stock" ? total : 0 });
    }
  }
}
