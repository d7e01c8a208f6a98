// Where the catalogue's news come from: the live line, and the REST API where
// the line brings no names or is down.

import { get } from "./api.js";
import { connect } from "./live.js";

const PAGE = 100; // drops a call
const TOGETHER = 2_000; // ms over which many pages scatter a call they all make
const UNTOLD = 8_000; // ms to wait for buyers' names to come by themselves

/**
 * Keeps catalogue up to date. onConnection({state, reachable}) is told how the
 * line stands ("connecting", "live", "offline") and whether calls get through:
 * buying goes on where only the line is down. onLoaded({ok, more}) is told
 * after every call for the list.
 */
export class Feed {
  #catalogue;
  #onConnection;
  #onLoaded;
  #state = "connecting";
  #reachable = true;
  #loaded = false;
  #complete = false; // the oldest drop is known
  #asked = new Set(); // ids that a list has been asked for because of
  #retold = new Map(); // id → how often its buyers were told on the line
  #timer = 0;
  #loading = 0;

  constructor({ catalogue, onConnection, onLoaded }) {
    this.#catalogue = catalogue;
    this.#onConnection = onConnection;
    this.#onLoaded = onLoaded;
    addEventListener("offline", () => this.#reach(false));
    addEventListener("online", () => this.#poll(0));
    document.addEventListener("visibilitychange", () => document.hidden || this.#poll(0));
    connect({
      onSnapshot: (data) => this.#snapshot(data.drops),
      onEvent: (event, data) => this.#event(event, data),
      onState: (state) => this.#line(state),
    });
    this.#load();
  }

  /** Loads the drops before the oldest known one. */
  async older() {
    await this.#load(`&before=${this.#catalogue.oldest}`);
  }

  /** Reads one drop anew, for the one who has just changed it, where the line does not tell. */
  async refresh(id) {
    if (this.#state === "live") return;
    try {
      this.#catalogue.put([await get(`/api/drops/${id}`)]);
    } catch {
      // The next poll brings it.
    }
  }

  async #load(rest = "") {
    this.#loading += 1;
    try {
      const list = await get(`/api/drops?limit=${PAGE}${rest}`);
      // Only the first list and the older ones reach back: a later one is the head of what is known.
      if (rest || !this.#loaded) this.#complete = list.length < PAGE;
      this.#loaded = true;
      this.#catalogue.put(list);
      this.#reach(true);
      this.#onLoaded({ ok: true, more: !this.#complete });
    } catch (error) {
      this.#asked.clear(); // what it was asked for is still not known
      this.#reach(error.code !== "offline");
      this.#onLoaded({ ok: this.#loaded, more: !this.#complete });
    } finally {
      this.#loading -= 1;
    }
    this.#poll();
  }

  // While the line is down the list is read from time to time instead. It is
  // tried more often while nothing answers: such a call costs nobody anything.
  #poll(within) {
    clearTimeout(this.#timer);
    if (this.#state === "live" && this.#loaded) return;
    const range = within ?? (this.#reachable && this.#loaded ? 8_000 : 4_000);
    this.#timer = setTimeout(() => {
      if (document.hidden || this.#loading > 0) this.#poll();
      else this.#load();
    }, (range + Math.random() * range) / 1.5);
  }

  #line(state) {
    this.#state = state;
    if (state === "live") this.#reachable = true;
    else if (!navigator.onLine) this.#reachable = false;
    this.#onConnection({ state, reachable: this.#reachable });
    this.#poll(1_000);
  }

  #reach(reachable) {
    if (this.#state === "live" && !reachable) return; // one call failed, the line stands
    if (reachable === this.#reachable) return;
    this.#reachable = reachable;
    this.#onConnection({ state: this.#state, reachable });
  }

  #snapshot(drops) {
    const before = new Map(this.#catalogue.all().map(({ id, sold }) => [id, sold]));
    this.#missing(this.#catalogue.replace(drops));
    const moved = drops.filter(({ id, sold }) => before.has(id) && before.get(id) !== sold);
    if (moved.length > 0) this.#names(moved.map(({ id }) => id));
  }

  #event(event, data) {
    if (event === "stock_update") {
      if (!this.#catalogue.update(data)) this.#missing([data.dropId]);
    } else if (event === "drop_created" || event === "drop_updated") {
      this.#retold.set(data.id, (this.#retold.get(data.id) ?? 0) + 1);
      if (event === "drop_created" || this.#catalogue.get(data.id) || data.id > this.#catalogue.oldest) this.#catalogue.put([data]);
    }
  }

  // Drops that the page should know are read with the list, once for each.
  // Older ones than it has loaded wait until the reader asks for them.
  #missing(ids) {
    if (!this.#loaded) return;
    const news = ids.filter((id) => !this.#asked.has(id) && (this.#complete || id > this.#catalogue.oldest));
    if (news.length === 0) return;
    for (const id of news) this.#asked.add(id);
    setTimeout(() => this.#load(), Math.random() * TOGETHER);
  }

  // Units were sold while the page did not listen. The next sale brings the
  // names of the newest buyers; where there is none, they are read.
  #names(ids) {
    const told = new Map(ids.map((id) => [id, this.#retold.get(id)]));
    setTimeout(() => {
      if (ids.some((id) => this.#retold.get(id) === told.get(id))) this.#load();
    }, UNTOLD + Math.random() * UNTOLD);
  }
}
