// What the shop says to a buyer.

import { count, duration, money, spoken, when } from "./format.js";

/** The state of a drop in a few words. */
export function stateOf(drop, phase, now) {
  switch (phase) {
    case "upcoming":
      return `Opens in ${duration(Date.parse(drop.start_time) - now)}`;
    case "live":
      return "Live now";
    case "soldout":
      return drop.held > 0 ? "All taken for now" : "Sold out";
    case "paused":
      return "Paused";
    default:
      return "Over";
  }
}

/** When a drop starts or ends, beside its state. */
export function timesOf(drop, phase, now) {
  if (phase === "upcoming") return when(drop.start_time, now);
  if (phase === "ended") return drop.end_time && Date.parse(drop.end_time) <= now ? `Ended ${when(drop.end_time, now)}` : "";
  if (!drop.end_time) return "";
  const left = Date.parse(drop.end_time) - now;
  return left < 86_400_000 ? `Ends in ${duration(left)}` : `Ends ${when(drop.end_time, now)}`;
}

/** The label of the button to reserve. */
export function reserveLabel(phase) {
  switch (phase) {
    case "upcoming":
      return "Not open yet";
    case "live":
      return "Reserve";
    case "soldout":
      return "Sold out";
    case "paused":
      return "Paused";
    default:
      return "Over";
  }
}

/** The terms a buyer should know before reserving. */
export function termsOf(drop) {
  const held = `Held for ${spoken(drop.hold_seconds * 1000)} once you reserve`;
  return drop.limit_per_customer ? `${held} · ${count(drop.limit_per_customer)} per customer` : held;
}

/** Why this drop cannot be reserved now, or an empty string where the card says enough. */
export function obstacle(drop, phase, size, reachable) {
  if (!reachable && phase === "live") return `${noConnection()} You can reserve as soon as the connection is back.`;
  switch (phase) {
    case "upcoming":
      return "The button opens by itself. There is no need to reload.";
    case "soldout":
      return letGo(drop.held, "Everything is taken.", "Every last one is sold.");
    case "paused":
      return "The shop has paused this drop. It goes on by itself here when it does.";
    case "ended":
      return drop.held > 0 ? "This drop is over. Who holds one may still buy it." : "This drop is over.";
    default:
  }
  const chosen = drop.sizes.find((s) => s.size === size);
  if (chosen?.available_stock === 0) return letGo(chosen.held, `${sized(size)} is taken.`, `${sized(size)} is sold out.`);
  return "";
}

// "US 9" speaks for itself, "42" does not.
function sized(size) {
  return /^\d/.test(size) ? `Size ${size}` : size;
}

function letGo(held, open, over) {
  if (held === 0) return over;
  const who = held === 1 ? "1 is held right now" : `${count(held)} are held right now`;
  return `${open} Someone may still let go of theirs: ${who}.`;
}

/**
 * What came of the buyer's action: note is that of Buying, phase that of the
 * drop now.
 */
export function outcome(note, drop, phase) {
  const again = phase === "live" ? " You can reserve again." : "";
  const limit = drop.limit_per_customer;
  switch (note.code) {
    case "out_of_stock":
      return `${note.size ? sized(note.size) : "The last one"} was taken a moment before you. If someone lets go of theirs, you can try again here.`;
    case "limit_reached":
      if (!limit) return "You have reached what one customer can get of this drop.";
      return limit === 1
        ? "This drop is one per customer, and you have yours: held or bought under this name."
        : `This drop is ${count(limit)} per customer, and you have reached that, held and bought ones together.`;
    case "not_started":
      return "It has not quite started. Please try again in a moment.";
    case "ended":
      return "This drop ended before your request arrived.";
    case "paused":
      return "The shop has just paused this drop. Nothing was reserved.";
    case "lapsed":
      return `Your time ran out before you bought, so it went back on sale. Nothing was bought.${again}`;
    case "given_back":
      return `Given back.${again}`;
    case "unknown":
      return `The shop does not know this reservation any more. Nothing was bought.${again}`;
    case "refused":
      return "The shop accepted this purchase but could not complete it. Please contact the shop.";
    case "drop_not_found":
      return "This drop is no longer in the shop.";
    case "choose_size":
      return "Please choose a size first.";
    case "no_answer":
      return "The shop did not answer. If it held one for you after all, trying again finds it; you never get two.";
    case "stopped":
      return "Stopped. If the shop held one for you after all, trying again finds it.";
    case "keeps":
      return "The shop did not answer, so it is still yours for now. It goes back by itself when the time is up.";
    case "invalid_request":
      return "The shop could not accept these details. Please check your name and e-mail.";
    default:
      return "Something went wrong at the shop. Nothing was bought. Please try again.";
  }
}

/** While a call is repeated. what is "reserving", "buying" or "returning"; code says why. */
export function trying(what, code) {
  const why =
    code === "offline"
      ? "The connection dropped."
      : code === "unavailable" || code === "internal_error"
        ? "The shop is not available for a moment."
        : "The shop is very busy.";
  switch (what) {
    case "buying":
      return `${why} Asking again until your purchase is certain. You never buy a second one by this.`;
    case "returning":
      return `${why} Trying again to give it back.`;
    default:
      return `${why} Trying again for you; you cannot end up with two.`;
  }
}

/** What a hold is, and what to do with it. step is that of Buying. */
export function holdLine(drop, hold, step) {
  const what = hold.size ? `${sized(hold.size)} · ${money(drop.price)}` : money(drop.price);
  switch (step) {
    case "buying":
      return `${what}. Completing your purchase …`;
    case "returning":
      return `${what}. Giving it back …`;
    default:
      return `${what}. Buy it before the time runs out, or give it back for someone else.`;
  }
}

/** Why nothing gets through. */
export function noConnection() {
  return navigator.onLine ? "The shop cannot be reached." : "You are offline.";
}

/** While there is a hold and no connection. */
export function heldOffline() {
  return `${noConnection()} It stays yours until the time runs out; you can buy as soon as the connection is back.`;
}
