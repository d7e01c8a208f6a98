// What the console says in words, and how it writes figures.

import { count } from "./format.js";
import { phase } from "./phase.js";

const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumSignificantDigits: 3 });
const decimals = [0, 1, 2].map((n) => new Intl.NumberFormat(undefined, { minimumFractionDigits: n, maximumFractionDigits: n }));
const minuteFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const secondFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** A label of an axis: 2500 → "2.5K". */
export const tick = (value) => compact.format(value);

export const units = (value) => count(value);
export const perSecond = (value) => `${decimals[value > 0 && value < 10 ? 1 : 0].format(value)} /s`;
export const seconds = (value) => `${decimals[value === 0 || value >= 100 ? 0 : value < 1 ? 2 : 1].format(value)} s`;
export const millis = (value) => `${count(Math.round(value))} ms`;
export const entries = (value) => `${count(Math.round(value))} ${Math.round(value) === 1 ? "entry" : "entries"}`;
export const clients = (value) => count(Math.round(value));

/** A time of day, in ms, with its seconds where exact. */
export const timeOfDay = (ms, exact) => (exact ? secondFormat : minuteFormat).format(ms);

const WORDS = { live: "Open", paused: "Paused", upcoming: "Upcoming", soldout: "Sold out", ended: "Ended" };

/** How a drop stands at a time, in a word or two. What is all held is not sold out yet. */
export function standing(drop, now) {
  const key = phase(drop, now);
  return key === "soldout" && drop.held > 0 ? "All held" : WORDS[key];
}

/** Why the server does not tell. The same words at every try, so that screen readers hear them once. */
export function failure(error) {
  return `${reason(error)} Trying again…`;
}

function reason({ code, status, message }) {
  if (code === "offline") return "The server cannot be reached.";
  if (code === "drop_not_found") return "This drop does not exist (404).";
  if (status === 401) return "The admin token is missing, or is not the right one (401).";
  if (status === 503) return "The server answers, but cannot serve this now (503).";
  return `${message} (${status}).`;
}

export const REFUSALS = [
  ["out_of_stock", "Out of stock"],
  ["limit_reached", "Over the limit"],
  ["not_started", "Not started"],
  ["ended", "Ended"],
  ["paused", "Paused"],
];
