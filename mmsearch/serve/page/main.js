/**
 * The page put together: a query goes into the address and to the server, its answer into the grid.
 *
 * @typedef {import("./api.js").Gallery} Gallery
 * @typedef {import("./api.js").Hit} Hit
 */
import { AnswerSummary } from "./answer-summary.js";
import * as api from "./api.js";
import { offerThemes } from "./appearance.js";
import { Chips } from "./chips.js";
import { offerActions } from "./chosen-actions.js";
import { CurrentQuery } from "./current-query.js";
import { byId } from "./elements.js";
import { Film } from "./film.js";
import { Filters } from "./filters.js";
import { factsOf, introduce } from "./gallery-facts.js";
import { Grid } from "./grid.js";
import { Help, listen } from "./keys.js";
import { ListEnd } from "./list-end.js";
import { Connection, announce, complain, settle, toast } from "./notices.js";
import { PictureSearch } from "./picture-search.js";
import { awaitPictures, choosePictures } from "./pictures.js";
import { NOTHING, fromAddress, isTimeline, toAddress, whereOf, withPart } from "./query.js";
import { SearchBox } from "./search-box.js";
import { offerScores } from "./scores.js";
import { Search } from "./search.js";
import { drawRectangles } from "./selection-rectangle.js";
import { Selection } from "./selection.js";
import { SlideShow } from "./slide-show.js";
import { Teaching } from "./teaching.js";
import { count, counted, shown } from "./text.js";
import { pictureOf } from "./tile.js";
import { Timeline } from "./timeline.js";
import { TokenDialog } from "./token-dialog.js";
import { Where } from "./where.js";
import { PartSearch } from "./part-search.js";
import { ViewerHistory } from "./viewer-history.js";
import { WorldMap, countPlaces } from "./world-map.js";

const SLOW = 180; // milliseconds after which a search shows that it is on its way

/** @type {Gallery | null} */
let gallery = null;
let focusPictures = false; // when they come
let slow = 0;

// --- what the page is made of

/** @type {Search} */
const search = new Search({
  asking(asked) {
    clearTimeout(slow);
    byId("main", HTMLElement).setAttribute("aria-busy", String(asked !== null));
    const spinner = byId("busy", HTMLElement);
    if (asked) slow = window.setTimeout(() => (spinner.hidden = false), SLOW);
    else spinner.hidden = true;
  },
  answered(answer) {
    settle();
    filters.complain("");
    if (gallery && gallery.version < answer.version) refreshGallery();
    grid.show(answer.hits);
    selection.clear();
    if (answer.months) timeline.show(answer.months, whereOf(answer.query), answer.version);
    else timeline.hide();
    if (teaching.isAwaited) answer.scroll = teaching.scroll;
    scrollTo(0, answer.scroll);
    const marked = teaching.answered(answer);
    view.viewer.refresh();
    summary.describe(answer, gallery, search.deepest);
    announce(marked || summary.spoken(answer));
    if (focusPictures) focusFirst();
    focusPictures = false;
    void end.look();
  },
  continued(answer, hits) {
    grid.append(hits);
    summary.describe(answer, gallery, search.deepest);
    announce(`${counted(hits.length, "further hit")}, ${count(answer.hits.length)} in all`);
    view.viewer.refresh();
    void end.look();
  },
  failed(error, asked) {
    if (error.code === "bad_filter") {
      filters.complain(error.message);
      return announce("The filter cannot be used.");
    }
    if (error.code === "unknown_picture") return void pictures.resend(error, asked);
    failed(error);
  },
});

const box = new SearchBox({
  ask: (words, how) => void query.ask({ ...query.value, words }, how),
  leave: focusFirst,
});
const chips = new Chips({
  changed: (asked) => void query.ask(asked),
  choose: () => choosePictures(),
  add: () => choosePictures(true),
  lost: () => box.focus(),
});
const filters = new Filters({ changed: (asked) => void query.ask(asked), failed });
/** @type {CurrentQuery} */
const query = new CurrentQuery({ box, chips, filters, search });

/** @type {import("./tile.js").TileEvents} */
const tiles = {
  open: (place) => view.open(place),
  like: askForMoreLike,
  isChosen: (row) => selection.has(row),
  choose: (tile, through) => selection.toggle(tile, through),
  choosing: () => selection.isActive,
  isReranked: () => typeof search.shown?.reranked === "number",
  markOf: (row) => teaching.markOf(row),
  mark: (hit, right) => teaching.mark(hit, right),
  failed,
};
/** @type {Grid} */
const grid = new Grid(byId("grid", HTMLElement), {
  ...tiles,
  leave: () => box.focus(),
  further: () => void search.further(),
});
/** @type {Timeline} */
const timeline = new Timeline({
  ...tiles,
  leave: () => box.focus(),
  came: () => view.viewer.refresh(),
  changed: async () => {
    const at = scrollY;
    await query.ask(query.value, "stay");
    scrollTo(0, at); // others were added or taken away; who reads on stays about where they were
  },
});
const list = () => (timeline.isShown ? timeline : grid);
/** @type {Selection} */
const selection = new Selection(list, failed);
/** @type {Teaching} */
const teaching = new Teaching({ query, list, view: () => view }, failed);
const where = new Where(() => query.value, failed);
const film = new Film(() => query.value, failed);
const part = new PartSearch((row, box) => askForMoreLikePart(`${row}#${box}`));
/** @type {ViewerHistory} */
const view = new ViewerHistory({ list, query }, {
  like: askForMoreLike,
  slides: () => slides.start(Math.max(0, view.viewer.place)),
  help: () => help.open(),
  failed,
  shown: (hit) => {
    teaching.shown(hit);
    where.shown(hit);
    film.shown(hit);
    part.shown(hit);
  },
  whole: (row) => part.shownWhole(row),
  keys: { ...teaching.keys, w: () => where.toggle(), b: () => part.toggle() },
});
const summary = new AnswerSummary({
  example: (words) => void query.ask({ ...NOTHING, words }),
  unfilter: () => void query.ask({ ...query.value, filter: NOTHING.filter }),
});
const end = new ListEnd(() => search.further());
/** @type {PictureSearch} */
const pictures = new PictureSearch({ query, chips, grid, summary, view }, failed);
const help = new Help();
/** @type {SlideShow} */
const slides = new SlideShow({
  list,
  help: () => help.open(),
  closed: (place) => {
    if (!view.viewer.isOpen) list().focus(place);
  },
});
const toggleScores = offerScores();
const map = new WorldMap({
  chosen: (part) => void query.ask({ ...query.value, table: "images", filter: { ...query.value.filter, box: part } }),
  help: () => help.open(),
  failed,
});
const token = new TokenDialog(start);
const connection = new Connection(() => void tryAgain());

/** @returns {boolean} whether there is a picture to be given the focus */
function focusFirst() {
  return timeline.isShown ? timeline.focus() : grid.focus(0);
}

/** From the picture that has the focus on, or from the first that is seen. */
function startSlides() {
  slides.start(list().focused?.place ?? (timeline.isShown ? Math.max(0, timeline.firstVisible()) : 0));
}

/** The map, if there is anything on it. */
async function openMap() {
  try {
    if (await countPlaces(query.value, new AbortController().signal)) return void map.open(query.value);
    toast("No place is known of these pictures: mmsearch embed --places reads it");
  } catch (error) {
    failed(error);
  }
}

/** Between all pictures by month and the start. */
function toggleTimeline() {
  const { filter } = query.value;
  void query.ask({ ...NOTHING, filter, timeline: !isTimeline(query.value) });
}

/** @param {Hit} hit */
function askForMoreLike(hit) {
  const row = pictureOf(hit);
  if (row !== null) return askForMoreLikePart(String(row));
  focusPictures = true;
  view.leave();
  void query.ask({ ...NOTHING, table: query.value.table, filter: query.value.filter, words: hit.caption ?? "" });
}

/** @param {string} value a row id, or one and a box in it */
function askForMoreLikePart(value) {
  focusPictures = true;
  const asked = { ...NOTHING, table: query.value.table, filter: query.value.filter };
  view.leave();
  void query.ask(withPart(asked, { kind: "like", value, weight: 1 }));
}

// --- what goes wrong

/**
 * Says what went wrong, in its place.
 * @param {unknown} error
 * @param {string} [before]
 */
function failed(error, before = "") {
  if (!(error instanceof api.ApiError)) throw error;
  if (error.unreachable) connection.lost();
  else if (error.status === 401) token.open();
  else if (error.passes) complain(`${before}${shown(error.message)}`, "Try again", () => void tryAgain());
  else complain(`${before}${shown(error.message)}`);
}

/** Asks again for what did not come. */
async function tryAgain() {
  settle();
  if (!gallery) return start();
  grid.retry();
  timeline.retry();
  view.viewer.again();
  await search.again();
}

// --- several at once

offerActions(() => selection.rows, failed);
/** @type {ReadonlySet<number>} */
let chosenBefore = new Set(); // the rectangle that is drawn
drawRectangles(byId("main", HTMLElement), {
  begin: () => (chosenBefore = selection.rows),
  draw: (box) => selection.replace(new Set([...chosenBefore, ...list().rowsIn(box)])),
});

// --- moving about

awaitPictures((files, added) => void pictures.searchWith(files, added));
byId("map-button", HTMLButtonElement).addEventListener("click", () => void openMap());
byId("slides-button", HTMLButtonElement).addEventListener("click", startSlides);
byId("choose", HTMLButtonElement).addEventListener("click", () => choosePictures());
byId("timeline-button", HTMLButtonElement).addEventListener("click", toggleTimeline);
byId("home", HTMLAnchorElement).addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  filters.close();
  void query.ask(NOTHING);
  box.focus();
});
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  focusFirst();
});

/** @param {string} key @param {(hit: Hit) => void} act on the picture that has the focus */
function withFocused(key, act) {
  const hit = list().focused?.hit;
  if (hit) act(hit);
  else if (key === "u") teaching.undo();
}

listen(
  {
    "/": () => box.select(),
    "?": () => help.open(),
    f: () => filters.toggle(),
    t: toggleTimeline,
    s: startSlides,
    d: toggleScores,
    p: () => void openMap(),
    m: () => {
      const { focused } = list();
      if (focused) askForMoreLike(focused.hit);
    },
    ...Object.fromEntries(Object.entries(teaching.keys).map(([key, act]) => [key, () => withFocused(key, act)])),
    x: () => {
      const { focused } = list();
      if (focused) selection.toggle(focused, false);
    },
    Escape: () => {
      if (selection.isActive) selection.clear();
      else filters.close();
    },
  },
  focusFirst,
  () => selection.all(),
);

addEventListener("popstate", async () => {
  const asked = fromAddress(location.search);
  if (toAddress(asked) !== toAddress(query.value)) {
    view.leave();
    await query.ask(asked, "stay", true);
  }
  view.follow();
});
addEventListener("scroll", () => {
  if (search.shown) search.shown.scroll = scrollY;
  byId("bar", HTMLElement).classList.toggle("lifted", scrollY > 8);
}, { passive: true });

// --- the start

/** @param {Gallery} known */
function showGallery(known) {
  gallery = known;
  search.deepest = known.limits.hits;
  pictures.largest = known.limits.upload_bytes;
  introduce(known);
  help.about(factsOf(known));
  box.describe(known);
  filters.describe(known);
  teaching.about(known);
  query.nameGallery(shown(known.name));
}

/** The gallery has changed: what is said of it, too. */
function refreshGallery() {
  api.gallery().then(showGallery, () => {}); // no matter: the next answer tells again
}

async function start() {
  box.begin(() => query.show(fromAddress(location.search)));
  try {
    await Promise.all([api.gallery().then(showGallery), search.ask(query.value)]);
    if (search.shown) summary.describe(search.shown, gallery, search.deepest);
    view.follow();
  } catch (error) {
    failed(error);
  }
}

history.scrollRestoration = "manual";
offerThemes();
void start();
