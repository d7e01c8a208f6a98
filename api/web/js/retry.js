// What it takes to repeat a call safely: to know that its outcome is open, a
// key that makes both calls one, and a pause that scatters the callers.

const OPEN = new Set(["offline", "unavailable", "overloaded", "rate_limited", "internal_error"]);
const SHORTEST = 600; // ms
const LONGEST = 5_000;

/** Whether a repeat of the call that failed so may have another outcome. */
export function isOpen(error) {
  return OPEN.has(error.code);
}

/** A fresh Idempotency-Key. crypto.randomUUID is missing on plain http. */
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

/**
 * Waits before try number attempt (from 1): at least what the server asked
 * for, plus a part drawn at random. It ends early when the network is back or
 * signal aborts.
 */
export function pause(attempt, retryAfter, signal) {
  const least = Math.min(retryAfter ?? 0, 30) * 1000;
  return wait(least + Math.random() * Math.min(LONGEST, SHORTEST * 2 ** attempt), signal);
}

/** Waits ms, or until the network is back or signal aborts. */
export function wait(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener("online", done);
    signal?.addEventListener("abort", done);
  });
}
