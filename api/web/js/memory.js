// What the page remembers in this browser. Where storage is denied, it
// remembers until it is closed.

const PREFIX = "holdfast.";
const fallback = new Map();

/** The value kept under name, or null. */
export function recall(name) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? fallback.get(name) ?? null;
  } catch {
    return fallback.get(name) ?? null;
  }
}

/** Keeps value under name; null forgets it. */
export function keep(name, value) {
  fallback.delete(name);
  try {
    if (value === null) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    if (value !== null) fallback.set(name, value);
  }
}

/** Calls onChange(name) whenever another tab has changed what is kept. */
export function onOtherTab(onChange) {
  addEventListener("storage", ({ key }) => {
    if (key?.startsWith(PREFIX)) onChange(key.slice(PREFIX.length));
  });
}
