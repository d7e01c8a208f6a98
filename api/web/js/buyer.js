// Who buys: asked once, kept in this browser.

import { setAttribute, setText } from "./dom.js";
import { keep, onOtherTab, recall } from "./memory.js";

const EMAIL = /^[^\s@]+@[^\s@]+$/;

/** The buyer, {name, email}, and the dialog that asks for them. */
export class Buyer {
  #dialog = document.getElementById("name-dialog");
  #name = document.getElementById("name-input");
  #email = document.getElementById("email-input");
  #who = document.getElementById("who");
  #answer = null;

  constructor() {
    this.#who.addEventListener("click", () => this.ask());
    document.getElementById("name-cancel").addEventListener("click", () => this.#dialog.close());
    this.#dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save();
    });
    this.#dialog.addEventListener("close", () => {
      this.#answer?.(this.#dialog.returnValue === "saved" ? this.known : null);
      this.#answer = null;
    });
    onOtherTab((name) => name === "buyer" && this.#show());
    this.#show();
  }

  /** The buyer, or null before the first answer. */
  get known() {
    return recall("buyer");
  }

  /** Opens the dialog; complaints are shown at their fields. Resolves to the buyer, or null if cancelled. */
  ask({ name = "", email = "" } = {}) {
    if (this.#dialog.open) this.#dialog.close();
    this.#name.value = this.known?.name ?? "";
    this.#email.value = this.known?.email ?? "";
    this.#complain(name, email);
    this.#dialog.returnValue = "";
    this.#dialog.showModal();
    (email && !name ? this.#email : this.#name).focus();
    return new Promise((resolve) => (this.#answer = resolve));
  }

  #save() {
    const name = this.#name.value.trim();
    const email = this.#email.value.trim();
    const noName = name === "" ? "Please enter a name." : "";
    const noEmail = email !== "" && !EMAIL.test(email) ? "This does not look like an e-mail address, such as ada@example.com." : "";
    this.#complain(noName, noEmail);
    if (noName || noEmail) {
      (noName ? this.#name : this.#email).focus();
      return;
    }
    keep("buyer", { name, email });
    this.#show();
    this.#dialog.close("saved");
  }

  #complain(name, email) {
    setText(document.getElementById("name-error"), name);
    setText(document.getElementById("email-error"), email);
    setAttribute(this.#name, "aria-invalid", name ? "true" : null);
    setAttribute(this.#email, "aria-invalid", email ? "true" : null);
  }

  #show() {
    const { known } = this;
    setText(this.#who, known ? known.name : "Add your name");
    setAttribute(this.#who, "aria-label", known ? `${known.name}, change who is buying` : null);
    this.#who.title = known?.email ? known.email : "";
    this.#who.parentElement.classList.toggle("is-known", Boolean(known));
  }
}
