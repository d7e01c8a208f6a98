// What is asked for now and then: the sales as a file, the audit, and what operators did.

import { download, get } from "./api.js";
import { units } from "./console-words.js";
import { el, setText } from "./dom.js";
import { fullTime } from "./format.js";

const byId = (id) => document.getElementById(id);
const ACTS = 50;

export class Reports {
  /** @param chosen() gives the id of the drop that is looked at, or null. */
  constructor(chosen) {
    this.chosen = chosen;
    this.oldest = null; // act that is shown
    byId("sales").addEventListener("click", (event) => this.#busy(event.target, "sales-note", () => this.#sales()));
    byId("audit-run").addEventListener("click", (event) => this.#busy(event.target, "audit-note", () => this.#audit()));
    byId("log-run").addEventListener("click", (event) => this.#busy(event.target, "log-note", () => this.#log(null)));
    byId("log-older").addEventListener("click", (event) => this.#busy(event.target, "log-note", () => this.#log(this.oldest)));
  }

  async #busy(button, note, work) {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true"); // it keeps the focus
    setText(byId(note), "Reading…");
    try {
      setText(byId(note), await work());
    } catch (error) {
      setText(byId(note), `${error.message}.`);
    }
    button.removeAttribute("aria-disabled");
  }

  async #sales() {
    const id = this.chosen();
    const file = await download(`/api/drops/${id}/sales.csv`);
    const link = el("a", { href: URL.createObjectURL(file), download: `drop-${id}-sales.csv` });
    link.click();
    URL.revokeObjectURL(link.href);
    return `The sales of drop ${id} are saved.`;
  }

  async #audit() {
    const audit = await get("/api/admin/audit");
    byId("audit-rows").replaceChildren(...audit.lines.map(auditRow));
    byId("audit-scroll").hidden = audit.lines.length === 0;
    const differ = audit.differences === 0 ? "no difference" : `${units(audit.differences)} differ`;
    const more = [
      audit.dead_letters > 0 ? `${units(audit.dead_letters)} dead letters` : "",
      audit.fenced_partitions.length > 0 ? `${audit.fenced_partitions.length} fenced partitions` : "",
      ...Object.entries(audit.lost_work).map(([kind, n]) => `${units(n)} lost of kind ${kind}`),
    ].filter(Boolean);
    return `${fullTime(audit.at)}: ${[`${units(audit.lines.length)} lines`, differ, ...more].join(", ")}.`;
  }

  async #log(before) {
    const { acts } = await get(`/api/admin/log?limit=${ACTS}${before === null ? "" : `&before=${before}`}`);
    const rows = acts.map(actRow);
    if (before === null) byId("log-rows").replaceChildren(...rows);
    else byId("log-rows").append(...rows);
    byId("log-scroll").hidden = byId("log-rows").children.length === 0;
    byId("log-older").hidden = acts.length < ACTS;
    this.oldest = acts.at(-1)?.id ?? this.oldest;
    return byId("log-rows").children.length === 0 ? "Nobody has done anything yet." : "";
  }
}

function auditRow({ drop, size, redis, postgres, live_holds: holds, pending_purchases: pending, busy, problem }) {
  const verdict = problem || (busy ? "busy" : "ok");
  const numbers = [redis.total, redis.available, redis.held, holds, redis.sold, pending, postgres.total, postgres.purchases];
  return el("tr", { "data-testid": "audit-row" },
    el("th", { scope: "row" }, size === "" ? String(drop) : `${drop} · ${size}`),
    el("td", { class: problem ? "soon" : "" }, verdict),
    ...numbers.map((n) => el("td", { class: "number" }, units(n))));
}

function actRow({ at, who, action, DropId, before, after }) {
  return el("tr", { "data-testid": "log-row" },
    el("th", { scope: "row" }, fullTime(at)),
    el("td", {}, who),
    el("td", {}, DropId === null ? action : `${action}, drop ${DropId}`),
    el("td", { class: "what" }, difference(before, after)));
}

/** What was changed, field by field. */
function difference(before, after) {
  if (after === null) return "outcome not known";
  const words = (value) => (value === null || value === undefined ? "none" : typeof value === "object" ? sizes(value) : String(value));
  return Object.keys(after)
    .filter((name) => JSON.stringify(before?.[name]) !== JSON.stringify(after[name]))
    .map((name) => (before && name in before ? `${name} ${words(before[name])} → ${words(after[name])}` : `${name} ${words(after[name])}`))
    .join("; ");
}

const sizes = (list) => (Array.isArray(list) ? list.map(({ size, stock }) => (size ? `${size}: ${stock}` : stock)).join(", ") : JSON.stringify(list));
