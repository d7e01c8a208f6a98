// The drops the page knows, each at its newest version.

const COUNTS = ["state", "total_stock", "available_stock", "held", "sold", "version", "sizes"];
const SNAPSHOT_LIMIT = 10_000; // a longer list is cut

export class Catalogue {
  #drops = new Map();
  #early = new Map(); // counts of drops that are not known yet, by id
  #onChange;

  /** onChange(drop, before) is told of every change; before is undefined for a new drop. */
  constructor({ onChange }) {
    this.#onChange = onChange;
  }

  get(id) {
    return this.#drops.get(id);
  }

  all() {
    return [...this.#drops.values()];
  }

  get size() {
    return this.#drops.size;
  }

  /** The id below which drops are older than any known, or Infinity. */
  get oldest() {
    return Math.min(Infinity, ...this.#drops.keys());
  }

  /**
   * Takes whole drops, as the API and drop_created tell them. Counts older than
   * the known ones are left out; the names of buyers are taken by version too,
   * unless none are known.
   */
  put(drops) {
    for (const drop of drops) {
      const before = this.#drops.get(drop.id);
      const early = this.#early.get(drop.id);
      this.#early.delete(drop.id);
      if (early?.version > drop.version) this.#set(merge(drop, early), before);
      else if (!before || drop.version >= before.version) {
        this.#set(drop, before);
      } else {
        const known = Object.fromEntries(COUNTS.map((name) => [name, before[name]]));
        const Purchases = before.Purchases.length > 0 ? before.Purchases : drop.Purchases;
        this.#set({ ...drop, ...known, Purchases }, before);
      }
    }
  }

  /** Takes the counts of one drop unless they are old; false where the drop is not known. */
  update(counts) {
    const before = this.#drops.get(counts.dropId);
    if (!before) {
      // Kept only beside a snapshot's, so that they are as many as one names.
      if (this.#early.has(counts.dropId)) this.#early.set(counts.dropId, counts);
      return false;
    }
    // The same version again is the same moment, told more completely.
    if (counts.version >= before.version) this.#set(merge(before, counts), before);
    return true;
  }

  /**
   * Takes a snapshot, which replaces all counts whatever their version: a server
   * that lost its memory begins to count anew. Answers the ids that are not known.
   */
  replace(list) {
    const named = new Map(list.map((counts) => [counts.id, counts]));
    for (const before of this.all()) {
      const counts = named.get(before.id);
      if (counts) this.#set(merge(before, counts), before);
      // A snapshot leaves out only what is over.
      else if (list.length < SNAPSHOT_LIMIT && before.state !== "ended") this.#set({ ...before, state: "ended" }, before);
    }
    const unknown = list.filter(({ id }) => !this.#drops.has(id));
    this.#early = new Map(unknown.map((counts) => [counts.id, counts]));
    return unknown.map(({ id }) => id);
  }

  #set(drop, before) {
    this.#drops.set(drop.id, drop);
    this.#onChange(drop, before);
  }
}

function merge(drop, counts) {
  const known = Object.fromEntries(COUNTS.filter((name) => name in counts).map((name) => [name, counts[name]]));
  return { ...drop, ...known };
}
