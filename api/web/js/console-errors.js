// What is wrong with a field, beside the field.

import { el } from "./dom.js";

export class FieldErrors {
  constructor() {
    this.shown = new Map(); // field to {control, words, describedBy}
  }

  /** Shows words beside a control, for a field as the API names it. One error a field. */
  show(field, control, words) {
    this.clear(field);
    const note = el("p", { class: "field-error", id: `error-${field}`, "data-testid": "field-error", "data-field": field }, words);
    control.closest(".size-row, .field, fieldset").append(note);
    const describedBy = control.getAttribute("aria-describedby");
    control.setAttribute("aria-invalid", "true");
    control.setAttribute("aria-describedby", [note.id, describedBy].filter(Boolean).join(" "));
    this.shown.set(field, { control, note, describedBy });
  }

  clear(field) {
    const error = this.shown.get(field);
    if (!error) return;
    this.shown.delete(field);
    error.note.remove();
    error.control.removeAttribute("aria-invalid");
    if (error.describedBy) error.control.setAttribute("aria-describedby", error.describedBy);
    else error.control.removeAttribute("aria-describedby");
  }

  /** Clears what belongs to a control, which is being corrected. */
  clearOf(control) {
    for (const [field, error] of this.shown) if (error.control === control) this.clear(field);
  }

  clearAll() {
    for (const field of [...this.shown.keys()]) this.clear(field);
  }
}
