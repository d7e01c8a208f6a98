// Figures and times in the reader's locale.

// The API names prices in major units and no currency. A page says its own in
// <meta name="currency" content="EUR">.
const currency = document.querySelector('meta[name="currency"]')?.content || "USD";

const moneyFormat = new Intl.NumberFormat(undefined, { style: "currency", currency });
const countFormat = new Intl.NumberFormat();
const clockFormat = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", hour: "numeric", minute: "2-digit" });
const fullFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** 129.95 → "$129.95". */
export function money(amount) {
  return moneyFormat.format(amount);
}

/** 12400 → "12,400". */
export function count(n) {
  return countFormat.format(n);
}

/**
 * What is left of a countdown, in ms: "0:07", "12:05", "1:02:03". It counts
 * whole seconds upwards, so that it says 0:00 only when the time is over.
 */
export function clock(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  const two = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(s / 3600);
  const minutes = Math.floor(s / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

/** A length of time in ms, in two units at most: "2 d 3 h", "3 h 5 min", below an hour as clock. */
export function duration(ms) {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return clock(ms);
  const [days, hours] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24];
  if (days > 0) return hours > 0 ? `${days} d ${hours} h` : `${days} d`;
  return minutes % 60 > 0 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
}

/** A length of time in ms, spoken: "1 minute", "2 minutes 30 seconds". */
export function spoken(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  const of = (n, unit) => (n > 0 ? `${n} ${unit}${n === 1 ? "" : "s"}` : "");
  if (s >= 3600) return [of(Math.floor(s / 3600), "hour"), of(Math.floor(s / 60) % 60, "minute")].filter(Boolean).join(" ");
  return [of(Math.floor(s / 60), "minute"), of(s % 60, "second")].filter(Boolean).join(" ") || "no time";
}

/** A moment: the time alone where it is within the day of today (ms), else with its day. */
export function when(iso, today = Date.now()) {
  const date = new Date(iso);
  return date.toDateString() === new Date(today).toDateString() ? clockFormat.format(date) : dayFormat.format(date);
}

/** A moment with its date and year. */
export function fullTime(iso) {
  return fullFormat.format(new Date(iso));
}
