// The card of one drop: shows where it stands and lets its buyer act.

import { announce } from "./announce.js";
import { Buying } from "./buying.js";
import { now } from "./clock.js";
import { el, setAttribute, setText } from "./dom.js";
import { count, fullTime, money, spoken } from "./format.js";
import { phase } from "./phase.js";
import { picture } from "./picture.js";
import { Ring } from "./ring.js";
import { Sizes } from "./sizes.js";
import { StockNews } from "./stock-news.js";
import * as words from "./words.js";

const DOUBLE_CLICK = 500; // ms in which a second click belongs to the one that reserved
const LAST_CALL = 20_000; // ms before the end of a hold at which it is said aloud

// Outcomes that are no trouble for the buyer.
const CALM = new Set(["given_back", "choose_size", "stopped"]);

export class Card {
  element;
  drop;
  buying;

  #buyer;
  #reachable;
  #onEnd;
  #parts;
  #ring = new Ring();
  #sizes;
  #news;
  #acting = false; // the buyer's own action is on its way
  #shownAt = 0; // when the hold came, performance.now()
  #lastCall = false;
  #phase = "";

  /**
   * buyer asks who buys; reachable() says whether calls get through; onEnd(id)
   * is told when an action of this buyer may have changed the stock.
   */
  constructor(drop, { buyer, reachable, onEnd }) {
    this.drop = drop;
    this.#buyer = buyer;
    this.#reachable = reachable;
    this.#onEnd = onEnd;
    const template = document.getElementById("drop-card").content;
    this.element = template.cloneNode(true).firstElementChild;
    this.#parts = this.#wire();
    this.#news = new StockNews();
    this.#describe();
    this.buying = new Buying({ dropId: drop.id, terms: () => this.drop, onChange: (outcome) => this.#changed(outcome) });
    this.buying.resume();
  }

  /** Takes a newer state of the drop. */
  update(drop) {
    const before = this.drop;
    this.drop = drop;
    if (drop.name !== before.name || drop.image_url !== before.image_url || drop.price !== before.price) this.#describe();
    if (isMoot(this.buying.note, before, drop)) this.buying.remark(null);
    this.render();
  }

  /** Follows the clock. */
  tick(at) {
    this.buying.tick(at);
    const { hold, step } = this.buying;
    if (step === "held" && !this.#lastCall && hold.expires - at < LAST_CALL) {
      this.#lastCall = true;
      if (hold.expires - hold.created > 2 * LAST_CALL) announce(`${spoken(LAST_CALL)} left to buy ${this.drop.name}.`);
    }
    const opened = this.#phase === "upcoming" && phase(this.drop, at) === "live";
    if (hold || this.#phase === "upcoming" || this.drop.end_time) this.render(at);
    if (opened) announce(`${this.drop.name} is open now.`);
  }

  render(at = now()) {
    const { drop, buying } = this;
    const p = this.#parts;
    const stage = (this.#phase = phase(drop, at));
    setAttribute(this.element, "data-phase", stage);
    setText(p.state, words.stateOf(drop, stage, at));
    setAttribute(p.state, "role", stage === "upcoming" ? "timer" : null);
    setText(p.times, words.timesOf(drop, stage, at));
    this.#stock();
    this.#news.tell(drop, stage, buying.step === "idle");

    const choosing = buying.step === "idle" || buying.step === "reserving";
    p.choose.hidden = !choosing;
    p.hold.hidden = choosing || buying.step === "bought";
    p.receipt.hidden = buying.step !== "bought";
    if (choosing) this.#choose(stage);
    else if (buying.hold) this.#hold(at);
    else this.#receipt();
    this.#message(stage, choosing);
    this.#buyers();
  }

  #wire() {
    const part = (selector) => this.element.querySelector(selector);
    const parts = {
      picture: part(".drop-picture"),
      name: part(".drop-name"),
      price: part(".drop-price"),
      state: part(".state"),
      times: part(".drop-times"),
      available: part(".stock-number"),
      of: part(".stock-of"),
      heldWords: part(".stock-held-words"),
      barAvailable: part(".stock-available"),
      barHeld: part(".stock-held"),
      choose: part(".choose"),
      reserve: part('[data-testid="reserve"]'),
      stop: part('[data-part="stop"]'),
      terms: part(".terms"),
      hold: part(".hold"),
      holdWhat: part(".hold-what"),
      buy: part('[data-testid="buy"]'),
      giveBack: part('[data-testid="give-back"]'),
      receipt: part(".receipt"),
      receiptLines: part(".receipt-lines"),
      done: part('[data-testid="receipt-done"]'),
      message: part(".message"),
      buyers: part(".buyers"),
      buyersList: part(".buyers-list"),
    };
    const { id } = this.drop;
    this.element.id = `drop-${id}`;
    this.element.dataset.dropId = id;
    parts.name.id = `drop-${id}-name`;
    parts.name.tabIndex = -1;
    parts.message.id = `drop-${id}-message`;
    this.element.setAttribute("aria-labelledby", parts.name.id);
    for (const button of [parts.reserve, parts.buy, parts.giveBack]) button.setAttribute("aria-describedby", parts.message.id);
    part(".hold-clock").append(this.#ring.element);
    this.#sizes = new Sizes(part(".sizes"), id, () => this.#chosen());

    parts.choose.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#reserve();
    });
    parts.stop.addEventListener("click", () => this.buying.stop());
    parts.buy.addEventListener("click", ({ detail }) => {
      // The second half of a double click on Reserve may land here, and must not buy.
      if (detail > 1 && performance.now() - this.#shownAt < DOUBLE_CLICK) return;
      this.#act(() => this.buying.buy());
    });
    parts.giveBack.addEventListener("click", () => this.#act(() => this.buying.giveBack()));
    parts.done.addEventListener("click", () => this.#act(() => this.buying.dismiss()));
    return parts;
  }

  // What rarely changes.
  #describe() {
    const { drop } = this;
    const p = this.#parts;
    setText(p.name, drop.name);
    setText(p.price, money(drop.price));
    p.picture.replaceChildren(picture(drop));
    setText(p.buy, `Buy for ${money(drop.price)}`);
    setText(p.terms, words.termsOf(drop));
    setAttribute(p.hold, "aria-label", `${drop.name}, held for you`);
    setAttribute(p.receipt, "aria-label", `${drop.name}, your receipt`);
  }

  #stock() {
    const { available_stock, held, total_stock } = this.drop;
    const p = this.#parts;
    setText(p.available, count(available_stock));
    setText(p.of, `of ${count(total_stock)} left`);
    setText(p.heldWords, held > 0 ? `${count(held)} held right now` : "");
    p.barAvailable.style.width = `${(100 * available_stock) / total_stock}%`;
    p.barHeld.style.width = `${(100 * held) / total_stock}%`;
  }

  #choose(stage) {
    const { drop, buying } = this;
    const p = this.#parts;
    this.#sizes.show(drop.sizes, buying.step === "reserving");
    const chosen = drop.sizes.find(({ size }) => size === this.#sizes.chosen);
    const blocked = stage !== "live" || !this.#reachable() || chosen?.available_stock === 0;
    p.reserve.disabled = blocked || buying.busy;
    setText(p.reserve, buying.busy ? "Reserving …" : words.reserveLabel(stage));
    p.stop.hidden = !(buying.busy && buying.retrying);
    p.terms.hidden = stage === "ended" || (stage === "soldout" && drop.held === 0);
  }

  #hold(at) {
    const { hold, step } = this.buying;
    const p = this.#parts;
    this.#ring.set(hold.expires - at, hold.expires - hold.created);
    setText(p.holdWhat, words.holdLine(this.drop, hold, step));
    const blocked = step !== "held" || !this.#reachable();
    p.buy.disabled = blocked;
    p.giveBack.disabled = blocked;
  }

  #receipt() {
    const { id, size, price, name, at } = this.buying.receipt;
    const lines = [["Receipt", String(id)], ["Item", this.drop.name], ["Size", size], ["Price", money(price)], ["Name", name], ["Bought", at && fullTime(at)]];
    const shown = lines.filter(([, value]) => value);
    if (this.#parts.receiptLines.dataset.receipt === String(id)) return;
    this.#parts.receiptLines.dataset.receipt = id;
    this.#parts.receiptLines.replaceChildren(...shown.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))));
  }

  #message(stage, choosing) {
    const { note, retrying, step } = this.buying;
    let text = "";
    if (retrying) text = words.trying(step, retrying);
    else if (note) text = words.outcome(note, this.drop, stage);
    else if (choosing) text = words.obstacle(this.drop, stage, this.#sizes.chosen, this.#reachable());
    else if (step === "held" && !this.#reachable()) text = words.heldOffline();
    const p = this.#parts;
    setText(p.message, text);
    p.message.hidden = text === "";
    p.message.classList.toggle("is-outcome", Boolean(retrying || note));
    p.message.classList.toggle("is-trouble", Boolean(note && !retrying && !CALM.has(note.code)));
  }

  #buyers() {
    const { Purchases } = this.drop;
    const p = this.#parts;
    const ids = Purchases.map(({ id }) => id).join();
    p.buyers.hidden = Purchases.length === 0;
    if (p.buyersList.dataset.ids === ids) return;
    p.buyersList.dataset.ids = ids;
    p.buyersList.replaceChildren(...Purchases.map(({ User }) => el("li", {}, User.username)));
  }

  async #reserve(complaint) {
    if (this.#parts.reserve.disabled) return;
    const size = this.#sizes.chosen;
    if (this.drop.sizes.length > 0 && size === null) {
      this.buying.remark({ code: "choose_size" });
      this.#sizes.focus();
      return;
    }
    const who = (!complaint && this.#buyer.known) || (await this.#buyer.ask(complaint));
    if (who) this.#act(() => this.buying.reserve(size, who));
  }

  #chosen() {
    if (this.buying.note && !this.buying.busy) this.buying.remark(null);
    else this.render();
  }

  #act(action) {
    this.#acting = true;
    action();
  }

  // Something came of an action, or changed on its way.
  #changed(outcome) {
    const active = document.activeElement;
    const mine = this.element.contains(active) || (this.#acting && (!active || active === document.body));
    if (outcome === "held") {
      this.#lastCall = false;
      this.#shownAt = performance.now();
    }
    this.render();
    if (!outcome) return;
    this.#acting = false;
    this.#say(outcome);
    this.#onEnd(this.drop.id);
    if (mine) this.#moveFocus(outcome, active);
    const { note } = this.buying;
    if (outcome === "invalid_request" && (note.field === "userName" || note.field === "email")) {
      const text = "The shop does not accept this. Please check it.";
      this.#reserve(note.field === "email" ? { email: text } : { name: text });
    }
  }

  #say(outcome) {
    const { hold, receipt } = this.buying;
    if (outcome === "held") announce(`Held for you: ${this.drop.name}. You have ${spoken(hold.expires - now())} to buy.`);
    else if (outcome === "bought") announce(`It’s yours: ${this.drop.name}. Receipt ${receipt.id}.`);
    else if (outcome !== "dismissed") announce(this.#parts.message.textContent);
  }

  // The control that had the focus may be gone: the focus goes to what took its
  // place. It goes to the panel of a hold, not to its button, so that a key held
  // down does not buy.
  #moveFocus(outcome, active) {
    const p = this.#parts;
    if (outcome === "held") p.hold.focus();
    else if (outcome === "bought") p.receipt.focus();
    else if (outcome !== "choose_size" && (active === document.body || active.disabled || active.closest("[hidden]"))) {
      const next = [p.choose.hidden ? p.buy : p.reserve, p.message].find((e) => !e.disabled && !e.hidden);
      (next ?? p.name).focus();
    }
  }
}

// Whether what was said of an action has been overtaken by a newer state.
function isMoot(note, before, drop) {
  if (!note) return false;
  const free = (d) => d.sizes.find(({ size }) => size === note.size)?.available_stock ?? d.available_stock;
  switch (note.code) {
    case "out_of_stock":
      return free(before) === 0 && free(drop) > 0;
    case "paused":
      return before.state === "paused" && drop.state !== "paused";
    default:
      return false;
  }
}
