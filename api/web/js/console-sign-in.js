// Signing in to the console: every call brings the tab's token, and where the server wants another one, it is asked for.

import { identify } from "./api.js";
import { setText } from "./dom.js";
import { keepToken, token } from "./token.js";

const byId = (id) => document.getElementById(id);

/** @param onSignedIn() is called when somebody has given a token. */
export function signIn(onSignedIn) {
  const dialog = byId("sign-in-dialog");
  const input = byId("sign-in-token");
  const button = byId("sign-in");
  let dismissed = false; // then the button alone opens the dialog

  function ask() {
    setText(byId("sign-in-note"), token() ? "The server does not take the token that this tab has." : "");
    if (!dialog.open) dialog.showModal();
  }

  identify({
    headers: () => (token() ? { Authorization: `Bearer ${token()}` } : {}),
    refused: (headers) => {
      if (headers.Authorization !== (token() ? `Bearer ${token()}` : undefined)) return; // it was asked before the latest token came
      button.hidden = false;
      if (!dismissed) ask();
    },
  });
  button.addEventListener("click", ask);
  dialog.addEventListener("cancel", () => (dismissed = true));
  dialog.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const value = input.value.trim();
    if (!value) return;
    keepToken(value);
    input.value = "";
    dismissed = false;
    button.hidden = true;
    dialog.close();
    onSignedIn();
  });
}
