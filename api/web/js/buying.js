// One buyer's way through one drop: reserve, then buy or give back.
//
// Every step is kept in the browser before the call that makes it, so that a
// reload takes it up again. Calls whose outcome is open are repeated: a
// reservation with the same Idempotency-Key, a purchase as it is. None of that
// takes a second unit.

import { get, post } from "./api.js";
import { now } from "./clock.js";
import { keep, recall } from "./memory.js";
import { isOpen, newKey, pause, wait } from "./retry.js";

const RESERVE_FOR = 60_000; // ms to go on trying to reserve
const RETURN_TRIES = 4;
const EARLY_TRIES = 8; // when a drop opens here a hair before it does at the server
const EARLY_PAUSE = 250; // ms

/**
 * step is where the buyer stands: "idle", "reserving", "held", "buying",
 * "returning" or "bought". hold is {id, size, created, expires} (ms) from
 * "held" on, receipt {id, size, price, name, at} when bought. note is the
 * outcome of the last action, {code, size, field}; retrying is the error code
 * for which a call is being repeated.
 */
export class Buying {
  step = "idle";
  hold = null;
  receipt = null;
  note = null;
  retrying = null;

  #id;
  #onChange;
  #intent = null; // a reservation that was asked for: {key, size, who, at}
  #stop = null;
  #terms;

  /**
   * terms() answers the drop; onChange(outcome) is told of every change, with an
   * outcome where an action ended: "held", "bought", "dismissed", or the code of
   * the note.
   */
  constructor({ dropId, terms, onChange }) {
    this.#id = dropId;
    this.#terms = terms;
    this.#onChange = onChange;
  }

  get busy() {
    return this.step === "reserving" || this.step === "buying" || this.step === "returning";
  }

  /** Takes up what the browser kept, after a reload. */
  resume() {
    const kept = this.#recall();
    if (this.receipt) this.#become("bought");
    else if (this.hold && kept.buying) this.buy();
    else if (this.hold) this.#look();
    else if (this.#intent && now() - this.#intent.at < RESERVE_FOR) this.#reserve();
    else this.#become("idle");
  }

  /** Shows what another tab came to. That tab makes the calls. */
  follow() {
    if (this.busy) return;
    this.#recall();
    this.step = this.receipt ? "bought" : this.hold ? "held" : "idle";
    this.note = null;
    this.#onChange();
  }

  /** Says something that is no outcome of a call. */
  remark(note) {
    this.note = note;
    this.#onChange(note?.code);
  }

  /** Holds a unit for who, {name, email}. */
  reserve(size, who) {
    if (this.busy || this.hold) return;
    // The outcome of an earlier try may still be open. The same wish then has
    // the same key, so that it finds the unit which that try may have got.
    const same = this.#intent && this.#intent.size === size && this.#intent.who.name === who.name && this.#intent.who.email === who.email;
    this.#intent = { key: same ? this.#intent.key : newKey(), size, who, at: now() };
    this.#reserve();
  }

  async #reserve() {
    const intent = this.#intent;
    this.#begin("reserving");
    const { key, size, who } = intent;
    const body = { dropId: this.#id, userName: who.name, email: who.email || null, size };
    const call = () => post("/api/drops/reserve", body, { "Idempotency-Key": key });
    try {
      this.#settle(await this.#insist(call, { until: performance.now() + RESERVE_FOR }));
    } catch (error) {
      const stopped = this.#stop.signal.aborted;
      if (stopped) this.#intent = { ...intent, at: 0 }; // a reload does not take it up, a press does
      else if (!isOpen(error)) this.#intent = null;
      this.#end({ code: stopped ? "stopped" : isOpen(error) ? "no_answer" : error.code, size, field: error.field });
    }
  }

  /** Ends the repeating of a reservation. */
  stop() {
    this.#stop?.abort();
  }

  /** Buys what is held. It is repeated until the outcome is known. */
  async buy() {
    if (this.busy || !this.hold) return;
    this.#begin("buying");
    try {
      const { purchase } = await this.#insist(() => post("/api/drops/purchase", { reservationId: this.hold.id }), {});
      this.#bought(purchase.id, purchase.size, purchase.purchased_at);
    } catch (error) {
      this.#gone(error);
    }
  }

  /** Gives back what is held. */
  async giveBack() {
    if (this.busy || !this.hold) return;
    this.#begin("returning");
    try {
      await this.#insist(() => post("/api/drops/cancel", { reservationId: this.hold.id }), { tries: RETURN_TRIES });
      this.#end({ code: "given_back" });
    } catch (error) {
      if (error.code === "reservation_completed") this.#look();
      else if (isOpen(error)) this.#become("held", { code: "keeps" });
      else this.#gone(error);
    }
  }

  /** Puts the receipt away. */
  dismiss() {
    this.receipt = null;
    this.#end(null, "dismissed");
  }

  /** Ends a hold whose time is up. */
  tick(at) {
    if (this.step === "held" && at >= this.hold.expires) this.#end({ code: "lapsed", size: this.hold.size });
  }

  // Asks how the kept hold stands. It is shown as it was until the answer comes.
  async #look() {
    const { id } = this.hold;
    this.#become("held");
    for (let attempt = 1; this.hold?.id === id; attempt++) {
      try {
        const reservation = await get(`/api/reservations/${id}`);
        if (this.step === "held" && this.hold?.id === id) this.#settle(reservation, true);
        return;
      } catch (error) {
        if (!isOpen(error)) {
          if (this.step === "held" && this.hold?.id === id) this.#gone(error);
          return;
        }
        await pause(attempt, error.retryAfter);
      }
    }
  }

  // Goes on from a reservation as the API tells it.
  #settle(r, known = false) {
    switch (r.status) {
      case "active":
        this.hold = { id: r.id, size: r.size, created: Date.parse(r.created_at), expires: Date.parse(r.expires_at) };
        this.#become("held", null, known ? undefined : "held");
        return;
      case "completed":
        this.#bought(r.id, r.size, r.ended_at);
        return;
      case "expired":
        this.#end({ code: "lapsed", size: r.size });
        return;
      case "cancelled":
        this.#end({ code: "given_back" });
        return;
      default:
        this.#end({ code: "refused" });
    }
  }

  // A hold that the API did not let go on.
  #gone(error) {
    const codes = { reservation_expired: "lapsed", reservation_cancelled: "given_back", reservation_not_found: "unknown" };
    const code = codes[error.code] ?? error.code;
    this.#end({ code, size: this.hold?.size ?? null });
  }

  #bought(id, size, at) {
    this.receipt = { id, size, at, price: this.#terms().price, name: this.#intent?.who.name ?? recall("buyer")?.name ?? null };
    this.#end(null, "bought");
  }

  // Repeats call while its outcome is open, at most tries times and until the
  // time given; at least once.
  async #insist(call, { tries = Infinity, until = Infinity }) {
    const { signal } = this.#stop;
    for (let attempt = 1, early = 0; ; ) {
      try {
        return await call();
      } catch (error) {
        if (signal.aborted) throw error;
        if (error.code === "not_started" && early < EARLY_TRIES) {
          early += 1;
          await wait(EARLY_PAUSE * (0.5 + Math.random()), signal);
        } else if (isOpen(error) && attempt < tries && performance.now() < until) {
          this.retrying = error.code;
          this.#onChange();
          await pause(attempt, error.retryAfter, signal);
          attempt += 1;
        } else {
          throw error;
        }
        if (signal.aborted) throw error;
      }
    }
  }

  #begin(step) {
    this.#stop = new AbortController();
    this.#become(step);
  }

  // The way ends: with a receipt, or back where it began.
  #end(note, outcome = note?.code) {
    this.hold = null;
    if (note?.code !== "no_answer" && note?.code !== "stopped") this.#intent = null;
    this.#become(this.receipt ? "bought" : "idle", note, outcome);
  }

  #become(step, note = null, outcome = note?.code) {
    this.step = step;
    this.note = note;
    this.retrying = null;
    const nothing = !this.hold && !this.receipt && !this.#intent;
    keep(this.#name, nothing ? null : { hold: this.hold, receipt: this.receipt, intent: this.#intent, buying: step === "buying" });
    this.#onChange(outcome);
  }

  #recall() {
    const kept = recall(this.#name);
    this.hold = kept?.hold ?? null;
    this.receipt = kept?.receipt ?? null;
    this.#intent = kept?.intent ?? null;
    return kept;
  }

  get #name() {
    return `drop.${this.#id}`;
  }
}
