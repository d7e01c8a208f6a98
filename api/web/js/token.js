// The admin token of this tab. A link may bring it as #token=…, which is taken out of the address at once, so that
// it is in no history and no bookmark. The tab keeps it until it is closed.

const KEY = "holdfast.admin-token";
let held = recall();

/** The token, or "". */
export const token = () => held;

/** Keeps a token for this tab. */
export function keepToken(value) {
  held = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // Storage is denied: it lasts until the page is loaded again.
  }
}

function recall() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

// What stands before the token, such as the drop that is looked at, stays.
function takeFromAddress() {
  const [, rest, value] = /^#(.*?)&?token=([^&]*)$/.exec(location.hash) ?? [];
  if (value === undefined) return;
  history.replaceState(null, "", `${location.pathname}${location.search}${rest && `#${rest}`}`);
  if (value) keepToken(decodeURIComponent(value));
}

takeFromAddress();
addEventListener("hashchange", takeFromAddress);
