// Changing the drop that is looked at.

import { ApiError, patch } from "./api.js";
import { confirm } from "./console-confirm.js";
import { fromLocal, toLocal } from "./console-draft.js";
import { units } from "./console-words.js";
import { el, setText } from "./dom.js";
import { phase } from "./phase.js";
import { isOpen, newKey } from "./retry.js";

const byId = (id) => document.getElementById(id);
const TRIES = 3; // with the same key, so that nothing is done twice
const REST = 1_000; // ms between them

const buttons = { pause: byId("steer-pause"), resume: byId("steer-resume"), end: byId("steer-end") };
const stock = byId("steer-stock");
const terms = byId("steer-terms");
const note = byId("steer-note");

export class Steer {
  /** @param onChanged(drop) is called with the drop as it is after a change. */
  constructor(onChanged) {
    this.onChanged = onChanged;
    this.drop = null;
    this.busy = false;
    buttons.pause.addEventListener("click", () => this.#change({ state: "paused" }, "Paused: nobody new can hold a unit."));
    buttons.resume.addEventListener("click", () => this.#change({ state: "live" }, "Resumed."));
    buttons.end.addEventListener("click", () => this.#end());
    stock.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#stock(event.submitter?.value === "take" ? -1 : 1);
    });
    terms.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#terms(event.submitter?.value);
    });
  }

  /** Shows what can be done with a drop at a time (ms). */
  show(drop, now) {
    const other = this.drop?.id !== drop.id;
    this.drop = drop;
    const key = phase(drop, now);
    const over = key === "ended";
    buttons.pause.hidden = drop.state !== "open";
    buttons.resume.hidden = drop.state !== "paused";
    const started = Date.parse(drop.start_time) <= now;
    for (const control of [...Object.values(buttons), ...stock.elements, ...terms.elements]) control.disabled = over;
    for (const name of ["start_time", "price"]) {
      for (const control of terms.querySelectorAll(`[name="${name}"], [value="${name}"]`)) control.disabled ||= started;
    }
    setText(byId("steer-hint"), over ? "The drop has ended, which is final." : started ? "Start and price cannot be changed any more." : "");
    this.#sizes(drop.sizes);
    if (!other) return;
    this.#fill(drop);
    this.#say("");
  }

  // fill puts the present terms in the fields, or in one alone, so that nothing that is being typed goes.
  #fill(drop, one = null) {
    const { start_time: start, end_time: end, price, limit } = terms.elements;
    const present = [
      [start, toLocal(Date.parse(drop.start_time))],
      [end, drop.end_time === null ? "" : toLocal(Date.parse(drop.end_time))],
      [price, drop.price],
      [limit, drop.limit_per_customer ?? ""],
      [stock.elements.units, ""],
    ];
    for (const [control, value] of present) if (one === null || control === one) control.value = value;
  }

  #sizes(sizes) {
    const names = sizes.map(({ size }) => size);
    const select = stock.elements.size;
    select.closest(".field").hidden = names.length === 0;
    if ([...select.options].map(({ value }) => value).join("\n") === names.join("\n")) return;
    select.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  }

  async #end() {
    const { name, held } = this.drop;
    const left = held > 0 ? ` ${units(held)} units are held: who holds one may still buy it.` : "";
    if (await confirm(`End ${name}?`, `Nobody can reserve any more, and that is final.${left}`, "End the drop")) {
      await this.#change({ state: "ended" }, "Ended.");
    }
  }

  async #stock(sign) {
    const n = number(stock.elements.units.value);
    if (!Number.isSafeInteger(n) || n < 1) {
      this.#fail("Units must be a whole number from 1.", stock.elements.units);
      return;
    }
    const size = this.drop.sizes.length > 0 ? stock.elements.size.value : undefined;
    const what = `${units(n)} ${n === 1 ? "unit" : "units"}${size === undefined ? "" : ` of ${size}`}`;
    if (sign < 0 && !(await confirm(`Take away ${what}?`, "They come from what is available. Who holds a unit keeps it.", "Take away"))) return;
    await this.#change({ stock: [{ size, add: sign * n }] }, `${sign > 0 ? "Added" : "Took away"} ${what}.`, stock.elements.units);
  }

  #terms(field) {
    const control = terms.elements[field === "limit_per_customer" ? "limit" : field];
    const text = control.value.trim();
    let value;
    if (field === "start_time" || field === "end_time") {
      if (control.validity.badInput || (text === "" && field === "start_time")) return this.#fail("That is not a complete time.", control);
      value = text === "" ? null : fromLocal(text);
    } else {
      value = text === "" && field === "limit_per_customer" ? null : number(text);
      if (Number.isNaN(value)) return this.#fail("That is not a number.", control);
    }
    return this.#change({ [field]: value }, "Changed.", control);
  }

  // change makes one change. Where its outcome is not known it is sent again with the same key.
  async #change(body, done, control = null) {
    if (this.busy) return;
    const { id } = this.drop;
    const key = newKey();
    this.busy = true;
    this.#say("Changing…");
    control?.removeAttribute("aria-invalid");
    let error;
    for (let tried = 0; tried < TRIES; tried++) {
      if (tried > 0) await new Promise((resolve) => setTimeout(resolve, REST));
      try {
        const drop = await patch(`/api/drops/${id}`, body, { "Idempotency-Key": key });
        this.busy = false;
        this.onChanged(drop);
        if (this.drop.id === id) {
          if (control) this.#fill(drop, control);
          this.#say(done);
        }
        return;
      } catch (failed) {
        if (!(failed instanceof ApiError)) {
          this.busy = false;
          throw failed;
        }
        error = failed;
        if (!isOpen(failed)) break;
      }
    }
    this.busy = false;
    const words = isOpen(error) ? `${error.message}. It may be made all the same: look before you try again.` : `Not changed: ${error.message}.`;
    if (this.drop.id === id) this.#fail(words, control);
  }

  #fail(words, control) {
    control?.setAttribute("aria-invalid", "true");
    note.dataset.kind = "failed";
    setText(note, words);
  }

  #say(words) {
    delete note.dataset.kind;
    setText(note, words);
  }
}

const number = (text) => (/^-?\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : NaN);
