/**
 * The page put together: a question goes into the address and to the server, its answer into the grid.
 *
 * @typedef {import("./question.js").Question} Question
 * @typedef {import("./api.js").Hit} Hit
 * @typedef {import("./api.js").Gallery} Gallery
 * @typedef {import("./search.js").Shown} Shown
 */
import * as api from "./api.js";
import { offerThemes } from "./appearance.js";
import { Chips } from "./chips.js";
import { byId, element, say } from "./elements.js";
import { Filters } from "./filters.js";
import { Grid, pictureOf } from "./grid.js";
import { Help, listen } from "./keys.js";
import { Connection, announce, complain, settle } from "./notices.js";
import * as pictures from "./pictures.js";
import { NOTHING, filtersSet, fromAddress, isAsked, partsOf, toAddress, withPart } from "./question.js";
import { Search } from "./search.js";
import { count, counted, sentence, shown } from "./text.js";
import { Viewer } from "./viewer.js";

const PAUSE = 320; // milliseconds after the last letter
const SLOW = 180; // milliseconds after which a search shows that it is on its way

const words = byId("words", HTMLInputElement);
const clear = byId("clear", HTMLButtonElement);
const main = byId("main", HTMLElement);
const nothing = byId("nothing", HTMLElement);

/** @type {Question} */
let question = NOTHING;
/** @type {Gallery | null} */
let gallery = null;
let typing = false; // the address of what is being typed is one, not one a letter
let typingEnds = 0;
let focusPictures = false; // when they come
let slow = 0;
/** @type {string | null} the content hash that the server does not know */
let unknown = null;

// --- asking

/**
 * Asks a question and writes it into the address.
 * @param {Question} asked
 * @param {"push" | "replace" | "stay"} [how] the address is written
 * @param {boolean} [remembered] an answer that was shown before will do
 */
async function ask(asked, how = "push", remembered = false) {
  clearTimeout(typingEnds);
  typing = false;
  const changed = toAddress(asked) !== toAddress(question);
  question = asked;
  if (how !== "stay") {
    const address = `${location.pathname}${toAddress(asked) ? `?${toAddress(asked)}` : ""}`;
    if (how === "push" && changed) history.pushState({}, "", address);
    else history.replaceState({}, "", address);
  }
  show(asked);
  await search.ask(asked, remembered);
}

/**
 * Shows what is asked: in the box, as chips, in the filters, as the title.
 * @param {Question} asked
 */
function show(asked) {
  if (words.value.trim() !== asked.words.trim()) words.value = asked.words;
  clear.hidden = !words.value;
  chips.show(asked);
  filters.show(asked);
  byId("asked", HTMLElement).hidden = !isAsked(asked) && !filtersSet(asked);
  const name = shown(gallery?.name ?? "mmsearch");
  document.title = isAsked(asked) ? `${titleOf(asked)} · ${name}` : name;
}

/** @param {Question} asked */
function titleOf(asked) {
  const names = partsOf(asked).map((part) => {
    const name = part.kind === "text" ? shown(part.value) : part.kind === "like" ? "like a picture" : "a picture";
    return part.weight < 0 ? `− ${name}` : name;
  });
  return names.join(" + ").replaceAll("+ −", "−");
}

/** @param {Hit} hit */
function moreLike(hit) {
  const row = pictureOf(hit);
  focusPictures = true;
  const part = row === null ? null : /** @type {const} */ ({ kind: "like", value: String(row), weight: 1 });
  const asked = { ...NOTHING, table: question.table, filter: question.filter };
  if (viewer.isOpen) viewer.hide();
  void ask(part ? withPart(asked, part) : { ...asked, words: hit.caption ?? "" });
}

/**
 * Searches with pictures that were dropped, pasted or chosen, beside the words that are there.
 * @param {File[]} files
 */
async function searchWith(files) {
  const images = files.filter((file) => !file.type || file.type.startsWith("image/"));
  if (!images.length) return complain("That is no picture. Drop one of any common format: JPEG, PNG, WebP, HEIC, TIFF …");
  const most = gallery?.limits?.upload_bytes ?? Infinity;
  if (viewer.isOpen) closeViewer();
  byId("asked", HTMLElement).hidden = false;
  const sent = await Promise.all(
    images.slice(0, 4).map(async (file) => {
      if (file.size > most) return complain(`${shown(file.name)} is larger than the server takes (${count(Math.round(most / 1e6))} MB).`);
      const arrived = chips.sending(file);
      try {
        return await pictures.send(file);
      } catch (error) {
        failed(error, `${shown(file.name)}: `);
      } finally {
        arrived();
      }
    }),
  );
  let asked = unknown === null ? question : { ...question, parts: question.parts.filter((part) => part.value !== unknown) };
  for (const hash of sent) if (hash) asked = withPart(asked, { kind: "picture", value: hash, weight: 1 });
  if (asked === question) return show(question);
  unknown = null;
  await ask(asked);
}

// --- answers

const search = new Search({
  asking(asked) {
    clearTimeout(slow);
    main.setAttribute("aria-busy", String(asked !== null));
    const spinner = byId("busy", HTMLElement);
    if (asked) slow = window.setTimeout(() => (spinner.hidden = false), SLOW);
    else spinner.hidden = true;
  },
  answered(shown) {
    settle();
    filters.complain("");
    if (gallery && gallery.version < shown.version) keepUp();
    grid.show(shown.hits);
    scrollTo(0, shown.scroll);
    viewer.refresh();
    describe(shown);
    announce(isAsked(shown.question) ? spoken(shown) : "");
    if (focusPictures) grid.focus(0);
    focusPictures = false;
    void lookFurther();
  },
  continued(shown, hits) {
    grid.append(hits);
    describe(shown);
    announce(`${counted(hits.length, "further hit")}, ${count(shown.hits.length)} in all`);
    viewer.refresh();
    void lookFurther();
  },
  failed(error, asked) {
    if (error.code === "bad_filter") {
      filters.complain(error.message);
      return announce("The filter cannot be used.");
    }
    if (error.code === "unknown_picture") return void forgotten(error, asked);
    failed(error);
  },
});

/**
 * Says what went wrong, in its place.
 * @param {unknown} error
 * @param {string} [before]
 */
function failed(error, before = "") {
  if (!(error instanceof api.ApiError)) throw error;
  if (error.unreachable) connection.lost();
  else if (error.status === 401) askToken();
  else if (error.passes) complain(`${before}${shown(error.message)}`, "Try again", () => void tryAgain());
  else complain(`${before}${shown(error.message)}`);
}

/** Asks again for what did not come. */
async function tryAgain() {
  settle();
  if (!gallery) return start();
  grid.retry();
  viewer.again();
  await search.again();
}

/**
 * The server does not know a picture any more: it is sent again, or asked for.
 * @param {api.ApiError} error
 * @param {Question} asked
 */
async function forgotten(error, asked) {
  const hash = String(error.body.picture ?? asked.parts.find((part) => part.kind === "picture")?.value ?? "");
  try {
    if (await pictures.sendAgain(hash)) return await ask(asked, "stay");
  } catch (again) {
    return failed(again);
  }
  unknown = hash;
  chips.mark(hash, true);
  const words = "The server no longer knows the picture that was asked with.";
  if (grid.length) return complain(`${words} Choose the file again, or drop it here.`, "Choose the picture", pictures.choosePictures);
  sayNothing("The picture is needed again", `${words} Choose the file, drop it here, or take it out of the question.`, ["Choose the picture", pictures.choosePictures]);
}

/** @param {Shown} shown */
function describe(shown) {
  const asked = isAsked(shown.question);
  const what = shown.question.table === "captions" ? "caption" : "picture";
  const all = (what === "caption" ? gallery?.captions : gallery?.images) ?? 0;
  const filtered = filtersSet(shown.question) > 0;
  byId("start", HTMLElement).hidden = asked || filtered;
  byId("asked-title", HTMLElement).textContent = asked ? titleOf(shown.question) : filtered ? "Filtered pictures" : "";
  const strip = byId("grid-title", HTMLElement);
  strip.textContent = asked ? "Answers, best first" : filtered ? "Some of what the filters admit" : "From all over the gallery";
  strip.classList.toggle("unseen", asked);
  say(byId("summary", HTMLElement), asked && shown.hits.length ? `Best ${filtered ? "of what the filters admit" : `of ${counted(all, what)}`} · ${Math.max(1, Math.round(shown.took))} ms` : "");
  if (!asked && !filtered) examples(shown.captions);
  warn(asked && shown.hits.length ? shown.warnings : []);
  emptiness(shown, what);
  const end = shown.more || !asked || !shown.hits.length ? "" : (shown.hits.at(-1)?.rank ?? 0) >= search.deepest ? `These are the best ${count(search.deepest)}. To see others, ask for something closer.` : `That is all: ${counted(shown.hits.length, what)}.`;
  say(byId("end", HTMLElement), end);
}

/** @param {string[]} warnings */
function warn(warnings) {
  const list = byId("warnings", HTMLElement);
  list.hidden = !warnings.length;
  list.replaceChildren(...warnings.map((one) => element("li", { dir: "auto" }, shown(one))));
}

/**
 * Says that nothing was found, and why.
 * @param {Shown} shown_
 * @param {string} what
 */
function emptiness(shown_, what) {
  nothing.hidden = shown_.hits.length > 0;
  if (!nothing.hidden) {
    if (gallery && !(what === "caption" ? gallery.captions : gallery.images)) {
      return sayNothing(`This gallery holds no ${what}s yet`, "Add some: mmsearch embed FOLDER", null);
    }
    const filtered = filtersSet(shown_.question);
    const why = shown_.warnings.map((one) => shown(one.charAt(0).toUpperCase() + one.slice(1))).join(". ");
    const without = () => void ask({ ...question, filter: NOTHING.filter });
    sayNothing("Nothing was found", why || (filtered ? "The filters admit nothing." : ""), filtered ? ["Take the filters away", without] : null);
  }
}

/**
 * Says in the middle of the page why there are no pictures.
 * @param {string} words
 * @param {string} why
 * @param {[string, () => void] | null} way out of it
 */
function sayNothing(words, why, way) {
  nothing.hidden = false;
  byId("nothing-words", HTMLElement).textContent = words;
  byId("nothing-why", HTMLElement).textContent = why;
  const button = byId("nothing-button", HTMLButtonElement);
  say(button, way?.[0] ?? "");
  button.onclick = way?.[1] ?? null;
}

/** @param {Shown} shown */
function spoken(shown) {
  const what = shown.question.table === "captions" ? "caption" : "picture";
  if (!shown.hits.length) return `Nothing was found. ${shown.warnings.join(" ")}`;
  return `${counted(shown.hits.length, what)}${shown.more ? ", more below" : ""}`;
}

/** @param {string[]} captions of the gallery: what its pictures can be asked with */
function examples(captions) {
  const group = byId("examples", HTMLElement);
  group.hidden = !captions.length || gallery?.answers_text === false;
  const buttons = captions.slice(0, 5).map((caption) => {
    const text = sentence(caption).replace(/[\s.]+$/, "");
    const button = element("button", { type: "button", class: "example", dir: "auto" }, text);
    button.addEventListener("click", () => void ask({ ...NOTHING, words: text }));
    return button;
  });
  group.replaceChildren(...buttons);
}

// --- what the page is made of

const grid = new Grid(byId("grid", HTMLElement), {
  open: (place) => openViewer(place),
  like: moreLike,
  leave: () => words.focus(),
  failed,
});

const viewer = new Viewer({
  at: (place) => grid.hitAt(place),
  moved(hit, place) {
    history.replaceState(history.state, "", addressWith(pictureOf(hit)));
    if (place > grid.length - 8) void search.further();
  },
  closed: closeViewer,
  like: moreLike,
  help: () => help.open(),
  failed,
});

const chips = new Chips({
  changed: (asked) => void ask(asked),
  choose: () => pictures.choosePictures(),
  lost: () => words.focus(),
});

const filters = new Filters({ changed: (asked) => void ask(asked) });
const help = new Help();
const connection = new Connection(() => void tryAgain());

/** @param {number | null} row */
function addressWith(row) {
  const address = new URLSearchParams(toAddress(question));
  if (row !== null) address.set("view", String(row));
  return `${location.pathname}${row !== null || isAsked(question) || filtersSet(question) ? `?${address}` : ""}`;
}

/** @param {number} place */
function openViewer(place) {
  const hit = grid.hitAt(place);
  if (!hit) return;
  history.pushState({ opened: true }, "", addressWith(pictureOf(hit)));
  viewer.show(hit, place);
}

function closeViewer() {
  if (history.state?.opened) return history.back(); // which closes it, so that "back" on a phone does the same
  history.replaceState({}, "", addressWith(null));
  hideViewer();
}

function hideViewer() {
  const { place } = viewer;
  viewer.hide();
  if (place >= 0) grid.focus(place);
}

/** Opens the picture that the address names, and closes the one that it does not. */
function followView() {
  const named = new URLSearchParams(location.search).get("view");
  const row = named && /^\d{1,18}$/.test(named) ? Number(named) : null;
  if (row === null) return viewer.isOpen ? hideViewer() : undefined;
  const place = grid.hits.findIndex((hit) => pictureOf(hit) === row);
  const hit = grid.hitAt(place);
  if (hit) viewer.show(hit, place);
  else void viewer.showRow(row);
}

// --- the box

words.addEventListener("input", (event) => {
  clear.hidden = !words.value;
  clearTimeout(typingEnds);
  if (event instanceof InputEvent && event.isComposing) return;
  typingEnds = window.setTimeout(typed, words.value.trim() ? PAUSE : 0);
});
words.addEventListener("compositionend", () => (typingEnds = window.setTimeout(typed, PAUSE)));

function typed() {
  if (words.value.trim() === question.words.trim()) return;
  void ask({ ...question, words: words.value }, typing ? "replace" : "push");
  typing = true;
}

byId("box", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typingEnds);
  if (matchMedia("(pointer: coarse)").matches) words.blur(); // the keyboard makes room for the pictures
  void ask({ ...question, words: words.value });
});
words.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" && grid.length) {
    event.preventDefault();
    grid.focus(0);
  } else if (event.key === "Escape" && words.value) {
    event.preventDefault();
    empty();
  }
});
clear.addEventListener("click", empty);

function empty() {
  words.value = "";
  words.focus();
  void ask({ ...question, words: "" });
}

byId("choose", HTMLButtonElement).addEventListener("click", () => pictures.choosePictures());
pictures.awaitPictures((files) => void searchWith(files));
byId("home", HTMLAnchorElement).addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  filters.close();
  void ask(NOTHING);
  words.focus();
});

// --- moving about

document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  grid.focus(0);
});

listen(
  {
    "/": () => {
      words.focus();
      words.select();
    },
    "?": () => help.open(),
    f: () => filters.toggle(),
    m: () => {
      if (grid.focused) moreLike(grid.focused);
    },
    Escape: () => filters.close(),
  },
  () => grid.focus(0),
);

addEventListener("popstate", async () => {
  const asked = fromAddress(location.search);
  if (toAddress(asked) !== toAddress(question)) {
    if (viewer.isOpen) viewer.hide();
    await ask(asked, "stay", true);
  }
  followView();
});
addEventListener("scroll", () => {
  if (search.shown) search.shown.scroll = scrollY;
  byId("bar", HTMLElement).classList.toggle("lifted", scrollY > 8);
}, { passive: true });

new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) void search.further();
}, { rootMargin: "1600px 0px" }).observe(byId("sentinel", HTMLElement));

/** Goes on while the end of the list is in sight: an observer only tells of changes. */
async function lookFurther() {
  await new Promise(requestAnimationFrame);
  if (byId("sentinel", HTMLElement).getBoundingClientRect().top < innerHeight + 1600) await search.further();
}

// --- the start

function askToken() {
  const dialog = byId("token", HTMLDialogElement);
  if (!dialog.open) dialog.showModal();
}

byId("token-form", HTMLFormElement).addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("token-field", HTMLInputElement);
  try {
    await api.enter(field.value.trim());
    field.value = "";
    say(byId("token-error", HTMLElement), "");
    byId("token", HTMLDialogElement).close();
    await start();
  } catch (error) {
    if (!(error instanceof api.ApiError)) throw error;
    say(byId("token-error", HTMLElement), error.status === 401 ? "That is not the token of this server." : error.message);
  }
});

/** @param {Gallery} known */
function introduce(known) {
  gallery = known;
  search.deepest = known.limits?.hits ?? search.deepest;
  const { spec, declared } = known.encoder;
  const name = shown(known.name);
  const caution = spec === "demo"
    ? "The bundled demo model knows drawn postcards and nothing else: on other pictures its answers mean nothing."
    : declared ? `That these are vectors of ${shown(spec)} was declared and is not checked.` : shown(known.text_problem ?? "");
  byId("home-name", HTMLElement).textContent = name;
  byId("start-name", HTMLElement).textContent = name;
  byId("start-lead", HTMLElement).textContent = known.answers_text === false
    ? "Drop, paste or choose a picture to find others like it."
    : "Describe what you are looking for, or drop a picture anywhere to find others like it.";
  const captions = known.captions ? ` · ${counted(known.captions, "caption")}` : "";
  byId("start-facts", HTMLElement).textContent = `${counted(known.images, "picture")}${captions} · ${shown(spec)}`;
  say(byId("start-caution", HTMLElement), caution);
  words.placeholder = known.answers_text === false ? "This gallery answers pictures only" : `Search ${counted(known.images, "picture")}`;
  const indexes = (known.indexes ?? []).map(({ table, factory, recall }) => `${table}: ${shown(factory)}${recall ? `, recall ${recall.toFixed(3)}` : ""}`);
  help.about(/** @type {[string, string][]} */ ([
    ["Name", name],
    ["Holds", `${counted(known.images, "picture")}${captions}`],
    ["Model", `${shown(spec)}, dimension ${known.encoder.dim}${declared ? " (declared, not checked)" : ""}`],
    ["Index", indexes.join("; ") || "none: every picture is scored"],
    ["Folders", (known.roots ?? []).map((root) => shown(root.path)).join(", ")],
    ["Remark", caution],
    ["Version", `${known.version} of the gallery, mmsearch ${shown(known.mmsearch)}`],
  ]).filter(([, value]) => value));
  filters.describe(known);
  show(question);
}

/** The gallery has changed: what is said of it, too. */
function keepUp() {
  api.gallery().then(introduce, () => {}); // no matter: the next answer tells again
}

async function start() {
  question = fromAddress(location.search);
  show(question);
  try {
    await Promise.all([api.gallery().then(introduce), search.ask(question)]);
    if (search.shown) describe(search.shown);
    followView();
  } catch (error) {
    failed(error);
  }
}

history.scrollRestoration = "manual";
offerThemes();
void start();
