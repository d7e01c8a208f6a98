// The console: which drop is looked at, and what is asked and shown about it.

import { get } from "./api.js";
import { Catalogue } from "./catalogue.js";
import { now, sync } from "./clock.js";
import { CreateForm } from "./console-create.js";
import { Holds } from "./console-holds.js";
import { DropList } from "./console-list.js";
import { poll } from "./console-poll.js";
import { Reports } from "./console-reports.js";
import { Sale } from "./console-sale.js";
import { signIn } from "./console-sign-in.js";
import { Steer } from "./console-steer.js";
import { Watch } from "./console-watch.js";
import { failure, timeOfDay } from "./console-words.js";
import { setText } from "./dom.js";
import { connect } from "./live.js";

const PAGE = 100; // drops asked for at once
const FRAME = 250; // ms between pictures while something happens
const FIGURES_EVERY = 1_000;
const LIST_EVERY = 10_000; // while the live line is away
const WATCHES = 8; // drops whose histories are kept

const byId = (id) => document.getElementById(id);
const connection = document.querySelector('[data-testid="connection"]');
const calm = matchMedia("(prefers-reduced-motion: reduce)");

signIn(() => {
  polling?.again();
  holds.again();
});

const list = new DropList(byId("drop-list"));
const sale = new Sale();
const steer = new Steer((drop) => {
  catalogue.put([drop]);
  anew();
});
new Reports(() => chosen);
const holds = new Holds({ rows: byId("holds-rows"), note: byId("holds-note"), count: byId("holds-count"), scroll: byId("holds-scroll") });
const catalogue = new Catalogue({ onChange: changed });
const watches = new Map(); // id to Watch, the latest looked at last

let chosen = null; // the id of the drop that is looked at
let live = false;
let listed = Infinity; // the oldest id that a page of the list has brought
let polling = null;
let told = now(); // when the counts were known last, unless the line is live
let stale = true; // something has changed since the last picture

function changed(drop) {
  watches.get(drop.id)?.counts(drop, now());
  stale = true;
}

// The drop that is looked at.

function choose(id) {
  if (id === chosen) return;
  chosen = id;
  const watch = watches.get(id) ?? new Watch(now());
  watches.delete(id);
  watches.set(id, watch);
  if (watches.size > WATCHES) watches.delete(watches.keys().next().value);
  watch.noFigures(now());
  const drop = catalogue.get(id);
  if (drop) watch.counts(drop, now());
  else sale.clear(`Drop ${id}`);
  sale.say(drop ? "" : "Loading the drop…");
  holds.watch(id);
  polling?.close();
  polling = poll({
    ask: () => askAbout(id),
    every: FIGURES_EVERY,
    onAnswer: (figures) => {
      sync(figures.server_time);
      told = now();
      watch.answer(figures);
      // After a gap the counts are known again also where they are what they were.
      watch.counts(catalogue.get(id), now());
      sale.say("");
      stale = true;
    },
    onFailure: (error) => {
      watch.noFigures(now());
      if (!live) watch.noCounts(now());
      const old = !live && catalogue.get(id) ? ` The counts are those of ${timeOfDay(told, true)}.` : "";
      sale.say(failure(error) + old);
      stale = true;
    },
  });
  anew();
  list.reveal(id);
}

// askAbout asks for the figures, and for the drop itself where the live line does not tell of it: a link may lead
// to an old one. The counts among the figures are not used: they lack the sizes, and a live frame of the same
// version would then be taken for known.
async function askAbout(id) {
  if (!live || !catalogue.get(id)) catalogue.put([await get(`/api/drops/${id}`)]);
  return get(`/api/admin/figures?drop=${id}`);
}

function chooseFromHash() {
  const id = Number(location.hash.slice(1));
  if (Number.isSafeInteger(id) && id > 0) choose(id);
  else if (chosen === null && catalogue.size > 0) chooseNewest();
}

// Nobody has chosen yet: the newest drop, without a step in the browser's history.
function chooseNewest() {
  const newest = Math.max(...catalogue.all().map(({ id }) => id));
  history.replaceState(null, "", `#${newest}`);
  choose(newest);
}

// The list of drops.

const older = byId("drops-older");

async function loadPage(before = "") {
  const page = await get(`/api/drops?limit=${PAGE}${before}`);
  catalogue.put(page);
  const oldest = page.at(-1)?.id ?? Infinity;
  if (before || listed === Infinity) older.hidden = page.length < PAGE;
  listed = Math.min(listed, oldest);
}

let refreshing = null;

// refresh reads the newest drops until it has them, and goes on reading them while the live line is away.
function refresh() {
  refreshing?.close();
  refreshing = poll({
    ask: () => loadPage(),
    every: LIST_EVERY,
    onAnswer: () => {
      if (live) refreshing.close();
      say(catalogue.size > 0 ? "" : "There is no drop yet. Create the first one.");
      if (catalogue.size === 0 && chosen === null) sale.say("There is nothing to watch until a drop has been created.");
      chooseFromHash();
      stale = true;
    },
    onFailure: (error) => say(failure(error)),
  });
}

const say = (words) => setText(byId("drops-note"), words);

older.addEventListener("click", async () => {
  older.disabled = true;
  try {
    await loadPage(`&before=${listed}`);
    say("");
  } catch (error) {
    say(`The older drops could not be read: ${error.message}.`);
  }
  older.disabled = false;
  stale = true;
});

// The live line.

const CONNECTION = { connecting: "Connecting…", live: "Live", offline: "Offline, trying again…" };
let wasLive = false;

connect({
  onSnapshot: (data) => {
    catalogue.replace(data.drops);
    // The snapshot has counts only, and may have drops that are new.
    live = true;
    refresh();
    polling?.again();
    holds.again();
  },
  onEvent: (event, data) => {
    if (event === "stock_update") catalogue.update(data);
    if (event === "drop_created" || event === "drop_updated") {
      catalogue.put([data]);
      say("");
      if (chosen === null) chooseFromHash();
    }
  },
  onState: (state) => {
    const lost = live && state !== "live";
    live = state === "live";
    wasLive ||= live;
    connection.dataset.state = state;
    setText(connection.firstElementChild, state === "connecting" && wasLive ? "Reconnecting…" : CONNECTION[state]);
    if (!lost) return;
    told = now();
    for (const watch of watches.values()) watch.noCounts(told);
    refresh();
  },
});
refresh();

new CreateForm((drop) => {
  catalogue.put([drop]);
  say("");
  location.hash = String(drop.id);
});

// Pictures: at most four a second, and one a second for the clocks alone. Where the reader wants little motion,
// one a second at most.

let pictured = 0; // the second of the last picture

function picture() {
  const time = now();
  const second = Math.floor(time / 1000);
  if (document.hidden || (second === pictured && (!stale || calm.matches))) return;
  pictured = second;
  stale = false;
  list.show(catalogue.all(), chosen, time);
  const drop = catalogue.get(chosen);
  if (!drop) return;
  sale.show(drop, watches.get(chosen), time);
  steer.show(drop, time);
}

// anew shows at once what the reader has asked for.
function anew() {
  pictured = 0;
  picture();
}

setInterval(() => {
  picture();
  if (!document.hidden) holds.tick();
}, FRAME);
document.addEventListener("visibilitychange", picture);
addEventListener("hashchange", chooseFromHash);
sale.onWindow = anew;

// Links within the page move the focus, not the hash, which says which drop is looked at.
document.addEventListener("click", (event) => {
  const id = event.target.closest("[data-focus]")?.dataset.focus;
  if (!id) return;
  event.preventDefault();
  byId(id).focus();
});
