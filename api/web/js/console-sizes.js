// The rows of sizes in the form. While there are rows, the total is their sum and cannot be typed.

const MOST = 64; // the API takes no more

export class SizeRows {
  /**
   * @param parts      {rows, add, total, template} of the page.
   * @param onChange() is called when rows were added or removed, which gives the others new places.
   */
  constructor(parts, onChange) {
    this.parts = parts;
    this.onChange = onChange;
    this.typedTotal = parts.total.value; // comes back when the last row goes
    parts.add.addEventListener("click", () => this.add());
    parts.rows.addEventListener("input", () => this.#sum());
  }

  get rows() {
    return [...this.parts.rows.children];
  }

  /** What is typed, as [{size, stock}]. */
  values() {
    return this.rows.map((row) => ({ size: input(row, "size").value.trim(), stock: input(row, "stock").value.trim() }));
  }

  /** The field for sizes[i].size or sizes[i].stock. */
  control(i, name) {
    return this.rows[i] && input(this.rows[i], name);
  }

  add() {
    const row = this.parts.template.content.firstElementChild.cloneNode(true);
    for (const field of row.querySelectorAll(".field")) {
      const control = field.querySelector("input");
      control.id = `size-${(this.made = (this.made ?? 0) + 1)}`;
      field.querySelector("label").htmlFor = control.id;
    }
    row.querySelector(".remove").addEventListener("click", () => this.#remove(row));
    if (this.rows.length === 0) this.typedTotal = this.parts.total.value;
    this.parts.rows.append(row);
    this.#arrange();
    input(row, "size").focus();
  }

  clear() {
    this.parts.rows.replaceChildren();
    this.#arrange();
  }

  // The focus goes to the row that takes the removed one's place, so that the keyboard does not lose it.
  #remove(row) {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    this.#arrange();
    (next ? next.querySelector(".remove") : this.parts.add).focus();
  }

  #arrange() {
    this.rows.forEach((row, i) => {
      row.setAttribute("aria-label", `Size ${i + 1}`);
      row.querySelector(".remove").setAttribute("aria-label", `Remove size ${i + 1}`);
    });
    const { add, total } = this.parts;
    const sized = this.rows.length > 0;
    add.disabled = this.rows.length >= MOST;
    if (total.readOnly && !sized) total.value = this.typedTotal;
    total.readOnly = sized;
    this.#sum();
    this.onChange();
  }

  #sum() {
    if (!this.parts.total.readOnly) return;
    const stocks = this.values().map(({ stock }) => Number(stock));
    this.parts.total.value = stocks.reduce((sum, n) => sum + (Number.isFinite(n) ? n : 0), 0);
  }
}

const input = (row, name) => row.querySelector(`[name="${name}"]`);
