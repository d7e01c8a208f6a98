// The live holds of the chosen drop, soonest deadline first, counting down by the server's clock.

import { get, remove } from "./api.js";
import { now, sync } from "./clock.js";
import { confirm } from "./console-confirm.js";
import { poll } from "./console-poll.js";
import { failure, units } from "./console-words.js";
import { el, setAttribute, setText } from "./dom.js";
import { clock } from "./format.js";
import { keyed } from "./keyed.js";

const ROWS = 100;
const EVERY = 1_000;
const SOON = 10_000; // ms before its end from which on a hold is marked

export class Holds {
  /** The parts of the page: {rows, note, count, scroll}. */
  constructor(parts) {
    this.parts = parts;
    this.nodes = new Map(); // id to row
    this.ends = new Map(); // id to {end, left}: the deadline in ms, and the cell that counts down
    this.polling = null;
  }

  /** Shows the holds of a drop from now on, or of none (null). */
  watch(id) {
    this.polling?.close();
    this.id = id;
    this.#show([]);
    setText(this.parts.count, "");
    this.#say(id === null ? "" : "Loading the holds…");
    if (id === null) return;
    this.polling = poll({
      ask: () => get(`/api/drops/${id}/holds?limit=${ROWS}`),
      every: EVERY,
      onAnswer: (answer) => {
        sync(answer.server_time);
        this.#show(answer.holds);
        setText(this.parts.count, answer.total > 0 ? `Showing ${units(answer.holds.length)} of ${units(answer.total)}` : "");
        this.#say(answer.holds.length > 0 ? "" : "Nobody holds a unit of this drop now.");
      },
      // Rows that are shown stay: their countdowns are right, and what they miss is said.
      onFailure: (error) => this.#say(failure(error)),
    });
  }

  /** Asks at once, whatever the pause. */
  again() {
    this.polling?.again();
  }

  /** Moves the countdowns on. */
  tick() {
    const time = now();
    for (const { end, left } of this.ends.values()) {
      const ms = end - time;
      setText(left, ms > 0 ? clock(ms) : "over");
      setAttribute(left, "class", ms < SOON ? "number soon" : "number");
    }
  }

  #show(holds) {
    const { rows, scroll } = this.parts;
    const byId = new Map(holds.map((hold) => [hold.id, hold]));
    keyed(rows, this.nodes, [...byId.keys()], (id) => this.#row(byId.get(id)));
    for (const id of this.ends.keys()) if (!byId.has(id)) this.ends.delete(id);
    scroll.hidden = holds.length === 0;
    this.tick();
  }

  #row(hold) {
    const left = el("td", { class: "number" });
    this.ends.set(hold.id, { end: Date.parse(hold.expires_at), left });
    const person = hold.User?.username ?? `Customer ${hold.UserId}`;
    return el("tr", { "data-testid": "hold-row", "data-hold-id": hold.id },
      el("th", { scope: "row" }, String(hold.id)),
      el("td", { class: "person", title: person }, person), // cut short where there is little room
      el("td", {}, hold.size ?? "–"),
      left,
      el("td", { class: "act" }, this.#releaseButton(hold, person)));
  }

  #releaseButton(hold, person) {
    const button = el("button", { type: "button", class: "button button-small button-quiet", "data-testid": "release", "aria-label": `Release hold ${hold.id}` }, "Release");
    button.addEventListener("click", async () => {
      const sure = await confirm(`Release hold ${hold.id}?`, `${person} cannot buy this unit any more. It is for sale again at once.`, "Release");
      if (!sure) return;
      button.disabled = true;
      try {
        await remove(`/api/drops/${this.id}/holds/${hold.id}`);
        this.#say(`Hold ${hold.id} is released.`);
      } catch (error) {
        this.#say(`Hold ${hold.id} was not released: ${error.message}.`);
        button.disabled = false;
      }
      this.again();
    });
    return button;
  }

  #say(words) {
    setText(this.parts.note, words);
  }
}
