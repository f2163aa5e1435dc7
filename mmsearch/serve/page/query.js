/**
 * What is asked, and how it is written into the address and sent to the server. Queries are never changed, only
 * replaced.
 *
 * @typedef {"images" | "captions" | "both"} Table
 * @typedef {{kind: "text" | "picture" | "like" | "mark", value: string, weight: number}} Part
 *   text: words. picture: the content hash of an uploaded picture. like: a row id of the gallery's pictures; of a part of
 *   one with a box, as "17#0.25,0,0.5,0.5": left, top, right, bottom in shares. mark: one
 *   that is right, or wrong where its weight is negative. A negative weight of others leads away from them.
 * @typedef {{shape: string, edge: string, from: string, to: string, path: string, score: string, distinct: boolean,
 *   newest: boolean, rerank: string, where: string, folder: string, box: string, facets: Readonly<Record<string, readonly string[]>>}} Filter  As the
 *   form holds them; "" where nothing is wanted. rerank: for how many seconds the best are re-ranked. folder: "1/holiday/2024", the id of a root and a path below it.
 *   box: "38.1,-9.5,39.2,-8.7", a part of the world: south, west, north, east. facets:
 *   by name, the values of which a picture has one.
 * @typedef {{words: string, weight: number, parts: readonly Part[], table: Table, timeline: boolean,
 *   filter: Readonly<Filter>}} Query  words: what stands in the search box; weight: theirs. timeline: where nothing is
 *   asked, whether all pictures are shown by month.
 */
import { FACETS, quoted } from "./facets.js";
import { count, shown } from "./text.js";

/** @type {Readonly<Filter>} */
export const NO_FILTER = Object.freeze({
  shape: "",
  edge: "",
  from: "",
  to: "",
  path: "",
  score: "",
  distinct: false,
  newest: false,
  rerank: "",
  where: "",
  folder: "",
  box: "",
  facets: Object.freeze({}),
});

/** @type {Readonly<Query>} */
export const NOTHING = Object.freeze({ words: "", weight: 1, parts: [], table: "images", timeline: false, filter: NO_FILTER });

const SHAPES = /** @type {Record<string, string>} */ ({
  landscape: "width > height",
  portrait: "width < height",
  square: "width = height",
});

/**
 * Among what is searched, by the name that a form or an address gives it.
 * @param {string | null} name
 * @returns {Table}
 */
export function tableNamed(name) {
  return name === "captions" || name === "both" ? name : "images";
}

/**
 * Whether there is anything to look for: what is wrong says nothing of what is wanted.
 * @param {Query} query
 */
export function isAsked(query) {
  return Boolean(query.words.trim()) || query.parts.some((part) => part.kind !== "mark" || part.weight > 0);
}

/**
 * The marks of a query, in the order in which they were made.
 * @param {Query} query
 */
export const marksOf = (query) => query.parts.filter((part) => part.kind === "mark");

/**
 * How many pictures are marked as right, and how many as wrong.
 * @param {Query} query
 */
export function countMarks(query) {
  const marks = marksOf(query);
  const right = marks.filter((part) => part.weight > 0).length;
  return { right, wrong: marks.length - right };
}

/**
 * The query without marks that teach nothing: of anything but pictures, or where nothing is looked for.
 * @param {Query} query
 * @returns {Query}
 */
export function withoutIdleMarks(query) {
  if (!marksOf(query).length || (query.table === "images" && isAsked(query))) return query;
  return { ...query, parts: query.parts.filter((part) => part.kind !== "mark") };
}

const KEPT = /^@([^\s@]\S*)$/;

/**
 * The name of the kept query that is asked; "" where words are.
 * @param {Query} query
 */
export const keptName = (query) => KEPT.exec(query.words.trim())?.[1] ?? "";

/**
 * Every part, the words of the box first.
 * @param {Query} query
 * @returns {Part[]}
 */
export function partsOf(query) {
  const words = query.words.trim();
  /** @type {Part[]} */
  const first = words ? [{ kind: "text", value: words, weight: query.weight }] : [];
  return [...first, ...query.parts];
}

/**
 * The query with another part, or as it is where it has that already.
 * @param {Query} query
 * @param {Part} part
 */
export function withPart(query, part) {
  const there = query.parts.some((other) => other.kind === part.kind && other.value === part.value);
  return there ? query : { ...query, parts: [...query.parts, part] };
}

/** @param {Query} query @param {number} place @returns {Query} */
export function withoutPart(query, place) {
  return { ...query, parts: query.parts.filter((_, other) => other !== place) };
}

/** @param {Query} query @param {number} place @param {Partial<Part>} change @returns {Query} */
export function changedPart(query, place, change) {
  return { ...query, parts: query.parts.map((part, other) => (other === place ? { ...part, ...change } : part)) };
}

/**
 * What a part of the kind "like" is like: a row, and the box of a part of its picture or "".
 * @param {string} value
 */
export function rowAndBox(value) {
  const [row, box = ""] = value.split("#");
  return { row: Number(row), box };
}

/**
 * The query in a line, for titles.
 * @param {Query} query
 */
export function titleOf(query) {
  const { right, wrong } = countMarks(query);
  const taught = `${right ? ` + ${count(right)} right` : ""}${wrong ? ` − ${count(wrong)} wrong` : ""}`;
  const named = partsOf(query).filter((part) => part.kind !== "mark");
  const names = named.map((part) => {
    const name = part.kind === "text" ? shown(part.value) : part.kind !== "like" ? "a picture" : rowAndBox(part.value).box ? "like a part of a picture" : "like a picture";
    return part.weight < 0 ? `− ${name}` : name;
  });
  return `${names.join(" + ").replaceAll("+ −", "−")}${taught}`.replace(/^ \+ /, "");
}

/** How many of the best are re-ranked. */
export const DEPTH = 128;

/**
 * Whether a query is one that a re-ranker can look at: words alone, which look for pictures.
 * @param {Query} query
 */
export function isReranked(query) {
  const { filter, table, words, weight, parts } = query;
  return Boolean(filter.rerank && words.trim()) && table === "images" && !filter.newest && !parts.length && weight > 0 && !keptName(query);
}

/**
 * Whether the timeline is what answers a query.
 * @param {Query} query
 */
export function isTimeline(query) {
  return query.timeline && !isAsked(query) && query.table === "images";
}

/**
 * How many filters are set.
 * @param {Query} query
 */
export function filtersSet(query) {
  const { filter } = query;
  const facets = FACETS.map(({ name }) => filter.facets[name]?.length);
  const parts = query.table === "images" ? [filter.shape, filter.edge, filter.from || filter.to, filter.newest, filter.box, ...facets] : [];
  return [...parts, filter.folder, filter.path, filter.score, filter.distinct, filter.where.trim()].filter(Boolean).length;
}

// --- the address

const LIKE = /^\d{1,18}(#[01](\.\d{1,6})?(,[01](\.\d{1,6})?){3})?$/;
const WEIGHTED = /^(.*)\^([+-]?(?:\d+\.?\d*|\.\d+))$/s;

/**
 * "people^0.5" as the command line writes it.
 * @param {string} value
 * @param {number} weight
 */
function written(value, weight) {
  return weight === 1 && !WEIGHTED.test(value) ? value : `${value}^${weight}`;
}

/** @param {string} text @returns {[string, number]} */
function read(text) {
  const found = WEIGHTED.exec(text);
  const weight = found ? Number(found[2]) : 1;
  return found && weight !== 0 ? [found[1] ?? "", weight] : [text, 1];
}

/**
 * The query as the part of an address after "?".
 * @param {Query} query
 */
export function toAddress(query) {
  const { filter } = query;
  const address = new URLSearchParams();
  const words = query.words.trim();
  if (words) address.append("q", written(words, query.weight));
  for (const part of query.parts) {
    if (part.kind === "mark") address.append(part.weight < 0 ? "no" : "yes", written(part.value, Math.abs(part.weight)));
    else if (part.kind !== "text") address.append(part.kind, written(part.value, part.weight));
    else if (part.weight < 0) address.append("not", written(part.value, -part.weight));
    else address.append("and", written(part.value, part.weight));
  }
  if (query.table !== "images") address.append("in", query.table);
  if (isTimeline(query)) address.append("timeline", "1");
  for (const { name } of FACETS) for (const value of filter.facets[name] ?? []) address.append(name, value);
  for (const name of /** @type {const} */ (["shape", "edge", "from", "to", "folder", "box", "path", "score", "rerank", "where"])) {
    if (filter[name].trim()) address.append(name, filter[name].trim());
  }
  for (const name of /** @type {const} */ (["distinct", "newest"])) if (filter[name]) address.append(name, "1");
  return address.toString();
}

/**
 * What an address asks. What it should not hold is left out.
 * @param {string} search
 * @returns {Query}
 */
export function fromAddress(search) {
  const address = new URLSearchParams(search);
  const [words, weight] = read(address.get("q") ?? "");
  /** @type {Part[]} */
  const parts = [];
  for (const [name, text] of address) {
    const [value, times] = read(text);
    if (!value.trim()) continue;
    if (name === "and" || name === "not") parts.push({ kind: "text", value, weight: name === "not" ? -times : times });
    if (name === "picture" && /^[0-9a-f]{32}$/.test(value)) parts.push({ kind: "picture", value, weight: times });
    if (name === "like" && LIKE.test(value)) parts.push({ kind: "like", value, weight: times });
    const marked = (name === "yes" || name === "no") && /^\d{1,18}$/.test(value) && times > 0;
    if (marked && !parts.some((part) => part.kind === "mark" && part.value === value)) {
      parts.push({ kind: "mark", value, weight: name === "no" ? -times : times });
    }
  }
  const one = (/** @type {string} */ name, /** @type {RegExp} */ form) => {
    const value = address.get(name) ?? "";
    return form.test(value) ? value : "";
  };
  return withoutIdleMarks({
    words,
    weight,
    parts,
    table: tableNamed(address.get("in")),
    timeline: address.has("timeline"),
    filter: {
      shape: one("shape", /^(landscape|portrait|square)$/),
      edge: one("edge", /^\d{1,6}$/),
      from: one("from", /^\d{4}-\d\d-\d\d$/),
      to: one("to", /^\d{4}-\d\d-\d\d$/),
      path: address.get("path") ?? "",
      rerank: one("rerank", /^(2|5|20)$/),
      score: one("score", /^-?[01]?\.?\d*$/),
      distinct: address.has("distinct"),
      newest: address.has("newest"),
      where: address.get("where") ?? "",
      folder: one("folder", /^\d{1,9}(\/.*)?$/s),
      box: one("box", /^(-?\d{1,3}(\.\d+)?)(,-?\d{1,3}(\.\d+)?){3}$/),
      facets: Object.fromEntries(
        FACETS.map(({ name }) => [name, address.getAll(name).filter((value) => value)]).filter(([, values]) => values?.length),
      ),
    },
  });
}

// --- the server

/**
 * The SQL expression that the filters make, or null.
 * @param {Query} query
 * @param {string} [but] the facet that is left out
 * @returns {string | null}
 */
export function whereOf(query, but = "") {
  const { filter } = query;
  const all = [];
  if (query.table === "images") {
    if (filter.shape) all.push(SHAPES[filter.shape]);
    if (filter.edge) all.push(`greatest(width, height) >= ${Number(filter.edge)}`);
    if (filter.from) all.push(`taken_at >= '${filter.from}'`);
    if (filter.to) all.push(`taken_at < '${dayAfter(filter.to)}'`);
    if (filter.box && but !== "box") all.push(inBox(filter.box));
    for (const { name, sql } of FACETS) {
      const values = name === but ? [] : (filter.facets[name] ?? []);
      if (values.length) all.push(`(${values.map(sql).join(" or ")})`);
    }
  }
  if (filter.folder && but !== "folder") all.push(inFolder(filter.folder));
  if (filter.path.trim()) all.push(pathContains(filter.path.trim()));
  if (filter.where.trim()) all.push(all.length ? bracketed(filter.where.trim()) : filter.where.trim());
  return all.length ? all.join(" and ") : null;
}

/** @param {string} sql */
function bracketed(sql) {
  return sql.includes("--") ? `(${sql}\n)` : `(${sql})`; // a comment would take the bracket in
}

/** @param {string} text */
function pathContains(text) {
  if (!/[%_\\]/.test(text)) return `path ilike ${quoted(`%${text}%`)}`;
  return `path ilike ${quoted(`%${text.replace(/[%_\\]/g, "\\$&")}%`)} escape '\\'`;
}

/** @param {string} folder */
function inFolder(folder) {
  const { root, path } = folderOf(folder);
  return path ? `root_id = ${root} and starts_with(path, ${quoted(`${path}/`)})` : `root_id = ${root}`;
}

/** @param {string} box */
function inBox(box) {
  const [south, west, north, east] = box.split(",").map(Number);
  return `lat between ${south} and ${north} and lon between ${west} and ${east}`;
}

/**
 * The root and the path of a folder, as "1/holiday/2024".
 * @param {string} folder
 */
export function folderOf(folder) {
  const cut = folder.indexOf("/");
  return { root: Number.parseInt(folder, 10), path: cut < 0 ? "" : folder.slice(cut + 1) };
}

/** @param {string} day as 2024-02-29 */
function dayAfter(day) {
  const next = new Date(`${day}T00:00:00Z`);
  if (Number.isNaN(next.getTime())) return day;
  next.setUTCDate(next.getUTCDate() + 1);
  return next.toISOString().slice(0, 10);
}

/**
 * The body of a query to the server.
 * @param {Query} query
 * @param {number} k
 * @param {number} offset
 * @returns {import("./messages.js").QueryBody}
 */
export function bodyOf(query, k, offset) {
  const score = Number.parseFloat(query.filter.score);
  // Those after the best that are re-ranked follow as they were ranked before.
  const second = isReranked(query) && offset === 0 ? { rerank: true, depth: DEPTH, within: Number(query.filter.rerank) } : {};
  return {
    parts: partBodies(query),
    k: isReranked(query) && offset === 0 ? Math.max(k, DEPTH) : k,
    offset,
    table: query.table,
    where: whereOf(query),
    min_score: Number.isNaN(score) ? null : score,
    distinct: query.filter.distinct || null,
    sort: query.table === "images" && query.filter.newest ? "date" : "rank",
    ...second,
  };
}

/**
 * The body of a query for all moments of a film.
 * @param {Query} query
 * @param {string} prefix what the paths of its frames begin with
 * @param {number} k
 * @returns {import("./messages.js").QueryBody}
 */
export function momentsBodyOf(query, prefix, k) {
  const among = `starts_with(path, ${quoted(prefix)})`;
  const where = whereOf({ ...query, table: "images" });
  const body = { ...bodyOf({ ...query, table: "images" }, k, 0), sort: /** @type {const} */ ("rank"), distinct: null };
  return { ...body, each: true, where: where ? `${bracketed(where)} and ${among}` : among };
}

/**
 * What is asked with, as the server takes it.
 * @param {Query} query
 * @returns {import("./messages.js").PartBody[]}
 */
export function partBodies(query) {
  const kept = keptName(query);
  if (!kept) return partsOf(query).map(partBody);
  return [{ kept, weight: 1 }, ...query.parts.map(partBody)];
}

/** @param {Part} part @returns {import("./messages.js").PartBody} */
function partBody({ kind, value, weight }) {
  if (kind === "text") return { text: value, weight };
  if (kind === "picture") return { picture: value, weight };
  if (kind === "mark") return { mark: Number(value), weight };
  const { row, box } = rowAndBox(value);
  return box ? { like: row, box: box.split(",").map(Number), weight } : { like: row, weight };
}
