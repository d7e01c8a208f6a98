// The form that creates a drop.

import { ApiError, post } from "./api.js";
import { now } from "./clock.js";
import { fromLocal, readDraft, toLocal } from "./console-draft.js";
import { FieldErrors } from "./console-errors.js";
import { pageOf } from "./console-sale.js";
import { SizeRows } from "./console-sizes.js";
import { el, setText } from "./dom.js";

const byId = (id) => document.getElementById(id);

const utcFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23", timeZone: "UTC" });
const zoneFormat = new Intl.DateTimeFormat(undefined, { timeZoneName: "longOffset" });

export class CreateForm {
  /** @param onCreated(drop) is called with the drop of a 201. */
  constructor(onCreated) {
    this.onCreated = onCreated;
    this.form = byId("create-form");
    this.message = byId("create-message");
    this.submit = this.form.querySelector('[type="submit"]');
    this.errors = new FieldErrors();
    const parts = { rows: byId("size-rows"), add: byId("add-size"), total: byId("create-total"), template: byId("size-row") };
    this.sizes = new SizeRows(parts, () => this.errors.clearAll());

    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.form.addEventListener("input", ({ target }) => {
      this.errors.clearOf(target);
      this.#times();
    });
    for (const button of this.form.querySelectorAll("[data-start]")) {
      button.addEventListener("click", () => this.#startIn(Number(button.dataset.start)));
    }
    const zone = zoneFormat.formatToParts().find(({ type }) => type === "timeZoneName").value;
    setText(byId("create-zone"), `Times are in your zone: ${zoneFormat.resolvedOptions().timeZone}, ${zone}.`);
    this.#startIn(0);
  }

  // By the server's clock, which decides when a drop opens.
  #startIn(seconds) {
    const input = this.form.elements.start_time;
    input.value = toLocal(now() + seconds * 1000);
    this.errors.clearOf(input);
    this.#times();
  }

  #times() {
    const say = (note, text) => setText(note, text ? `${utcFormat.format(new Date(fromLocal(text)))} UTC` : "");
    say(byId("create-start-utc"), this.form.elements.start_time.value);
    say(byId("create-end-utc"), this.form.elements.end_time.value);
  }

  async #send() {
    if (this.submit.disabled) return;
    this.errors.clearAll();
    this.message.replaceChildren();
    const { body, problems } = readDraft(this.form, this.sizes.values());
    if (problems.length > 0) {
      this.#complain(problems);
      return;
    }
    this.submit.disabled = true;
    setText(this.submit, "Creating…");
    try {
      this.#created(await post("/api/drops/create", body));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#refused(error);
    } finally {
      this.submit.disabled = false;
      setText(this.submit, "Create the drop");
    }
  }

  #created(drop) {
    this.form.reset();
    this.sizes.clear();
    this.#startIn(0);
    this.#tell("Created", "create-done",
      el("p", {}, `${drop.name} is drop ${drop.id}. `, el("a", { href: pageOf(drop.id) }, "Open its page")));
    this.onCreated(drop);
  }

  #refused(error) {
    const { code, status, field, message } = error;
    if (field && this.#controlOf(field)) {
      // The API's message names the field; here it stands beside it.
      const problem = message.startsWith(`${field} `) ? message.slice(field.length + 1) : message;
      this.#complain([{ field, problem }]);
      return;
    }
    const unknown = code === "offline" || status === 503;
    const words = `${message}.${unknown ? " It may have been created all the same: look at the list before you try again." : ""}`;
    this.#tell("The drop was not created", "create-failed", el("p", {}, words));
  }

  // complain shows each problem beside its field, and all of them together where the focus goes.
  #complain(problems) {
    const links = problems.map(({ field, problem }) => {
      const control = this.#controlOf(field);
      const [label, row] = labelOf(control);
      this.errors.show(field, control, sentence(row ? `${label} ${problem}` : problem));
      const link = el("a", { href: "#" }, `${row}${label} ${problem}`);
      link.addEventListener("click", (event) => {
        event.preventDefault();
        control.focus();
      });
      return el("li", {}, link);
    });
    this.#tell("The drop was not created", "create-failed", el("ul", {}, ...links));
  }

  #tell(title, kind, ...parts) {
    this.message.replaceChildren(el("div", { class: kind, role: "alert" }, el("h3", {}, title), ...parts));
    this.message.focus();
  }

  #controlOf(field) {
    const [, row, name] = field.match(/^sizes\[(\d+)\](?:\.(\w+))?$/) ?? [];
    if (row !== undefined) return this.sizes.control(Number(row), name === "stock" ? "stock" : "size");
    if (field === "sizes") return byId("add-size");
    const control = this.form.elements[field];
    return control instanceof HTMLInputElement ? control : undefined;
  }
}

const sentence = (words) => `${words.charAt(0).toUpperCase()}${words.slice(1)}`;

// labelOf is what the page calls a control, and the row that it is in ("" for none).
function labelOf(control) {
  if (control instanceof HTMLButtonElement) return ["Sizes", ""];
  const row = control.closest(".size-row")?.getAttribute("aria-label");
  return [control.labels[0].firstChild.textContent.trim(), row ? `${row}: ` : ""];
}
