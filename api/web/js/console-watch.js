// What has been seen of one drop while the console was open: the histories behind the charts.

import { REFUSALS } from "./console-words.js";
import { greatest, History, mean } from "./console-history.js";

const PATIENCE = 30_000; // ms without figures that leave a gap; a rate over less is a mean that says enough

export class Watch {
  constructor(now) {
    this.begun = now;
    this.stock = new History(); // [sold, held, available], lowest area first
    this.rates = new History(mean); // [reservations, refusals] per second
    this.entries = new History(greatest);
    this.lag = new History(greatest); // s
    this.restore = new History(greatest); // ms
    this.clients = new History(mean);
    this.figures = null; // the newest answer
    this.before = null; // what the next rates are differences to
  }

  /** Takes the counts of the drop at a time in ms. */
  counts(drop, time) {
    this.stock.push(time, [drop.sold, drop.held, drop.available_stock]);
  }

  /** Takes an answer of GET /api/admin/figures. */
  answer(figures) {
    const time = Date.parse(figures.server_time);
    const last = this.before;
    if (last && time - last.time > PATIENCE) this.noFigures(last.time + 1);
    this.figures = figures;
    this.before = { time, reservations: figures.reservations, refusals: refused(figures) };
    this.#rates(last);
    this.entries.push(time, [figures.ledger.entries]);
    this.lag.push(time, [figures.ledger.lag_seconds]);
    this.restore.push(time, figures.restore_lag_ms === null ? null : [figures.restore_lag_ms]);
    this.clients.push(time, [figures.sockets.websocket + figures.sockets.socketio]);
  }

  // rates are the differences to the answer before, if the counters went on counting: an instance that was
  // started anew, or another one that answers, begins at another number.
  #rates(last) {
    const { time, reservations, refusals } = this.before;
    const seconds = last ? (time - last.time) / 1000 : 0;
    if (seconds <= 0 || seconds * 1000 > PATIENCE) return;
    const rates = [(reservations - last.reservations) / seconds, (refusals - last.refusals) / seconds];
    this.rates.push(time, rates.every((rate) => rate >= 0) ? rates : null);
  }

  /** Nothing but the stock is known from a time on. */
  noFigures(time) {
    for (const history of [this.rates, this.entries, this.lag, this.restore, this.clients]) history.push(time, null);
    this.before = null;
  }

  /** The counts are not known from a time on. */
  noCounts(time) {
    this.stock.push(time, null);
  }
}

/** Refusals of all reasons together. A reason that the console has no words for counts too. */
export const refused = ({ refusals }) => Object.values(refusals).reduce((sum, n) => sum + n, 0);

/** Refusals by reason, as [words, count]; those without words by their code. */
export function reasons({ refusals }) {
  const known = new Set(REFUSALS.map(([code]) => code));
  const others = Object.keys(refusals).filter((code) => !known.has(code));
  return [...REFUSALS, ...others.map((code) => [code, code])].map(([code, words]) => [words, refusals[code] ?? 0]);
}
