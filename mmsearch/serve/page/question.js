/**
 * What is asked, and how it is written into the address and sent to the server. Questions are never changed, only
 * replaced.
 *
 * @typedef {"images" | "captions" | "both"} Table
 * @typedef {{kind: "text" | "picture" | "like", value: string, weight: number}} Part
 *   text: words. picture: the content hash of an uploaded picture. like: a row id of the gallery's pictures.
 *   A negative weight leads away from it.
 * @typedef {{shape: string, edge: string, from: string, to: string, path: string, score: string, distinct: boolean,
 *   newest: boolean, where: string}} Filter  As the form holds them; "" where nothing is wanted.
 * @typedef {{words: string, weight: number, parts: readonly Part[], table: Table,
 *   filter: Readonly<Filter>}} Question  words: what stands in the search box; weight: theirs.
 */
import { shown } from "./text.js";

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
  where: "",
});

/** @type {Readonly<Question>} */
export const NOTHING = Object.freeze({ words: "", weight: 1, parts: [], table: "images", filter: NO_FILTER });

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
 * Whether there is anything to look for.
 * @param {Question} question
 */
export function isAsked(question) {
  return Boolean(question.words.trim()) || question.parts.length > 0;
}

/**
 * Every part, the words of the box first.
 * @param {Question} question
 * @returns {Part[]}
 */
export function partsOf(question) {
  const words = question.words.trim();
  /** @type {Part[]} */
  const first = words ? [{ kind: "text", value: words, weight: question.weight }] : [];
  return [...first, ...question.parts];
}

/**
 * The question with another part, or as it is where it has that already.
 * @param {Question} question
 * @param {Part} part
 */
export function withPart(question, part) {
  const there = question.parts.some((other) => other.kind === part.kind && other.value === part.value);
  return there ? question : { ...question, parts: [...question.parts, part] };
}

/** @param {Question} question @param {number} place @returns {Question} */
export function withoutPart(question, place) {
  return { ...question, parts: question.parts.filter((_, other) => other !== place) };
}

/** @param {Question} question @param {number} place @param {Partial<Part>} change @returns {Question} */
export function changedPart(question, place, change) {
  return { ...question, parts: question.parts.map((part, other) => (other === place ? { ...part, ...change } : part)) };
}

/**
 * The question in a line, for titles.
 * @param {Question} question
 */
export function titleOf(question) {
  const names = partsOf(question).map((part) => {
    const name = part.kind === "text" ? shown(part.value) : part.kind === "like" ? "like a picture" : "a picture";
    return part.weight < 0 ? `− ${name}` : name;
  });
  return names.join(" + ").replaceAll("+ −", "−");
}

/**
 * How many filters are set.
 * @param {Question} question
 */
export function filtersSet(question) {
  const { filter } = question;
  const parts = question.table === "images" ? [filter.shape, filter.edge, filter.from || filter.to, filter.newest] : [];
  return [...parts, filter.path, filter.score, filter.distinct, filter.where.trim()].filter(Boolean).length;
}

// --- the address

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
 * The question as the part of an address after "?".
 * @param {Question} question
 */
export function toAddress(question) {
  const { filter } = question;
  const address = new URLSearchParams();
  const words = question.words.trim();
  if (words) address.append("q", written(words, question.weight));
  for (const part of question.parts) {
    if (part.kind !== "text") address.append(part.kind, written(part.value, part.weight));
    else if (part.weight < 0) address.append("not", written(part.value, -part.weight));
    else address.append("and", written(part.value, part.weight));
  }
  if (question.table !== "images") address.append("in", question.table);
  for (const name of /** @type {const} */ (["shape", "edge", "from", "to", "path", "score", "where"])) {
    if (filter[name].trim()) address.append(name, filter[name].trim());
  }
  for (const name of /** @type {const} */ (["distinct", "newest"])) if (filter[name]) address.append(name, "1");
  return address.toString();
}

/**
 * What an address asks. What it should not hold is left out.
 * @param {string} search
 * @returns {Question}
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
    if (name === "like" && /^\d{1,18}$/.test(value)) parts.push({ kind: "like", value, weight: times });
  }
  const one = (/** @type {string} */ name, /** @type {RegExp} */ form) => {
    const value = address.get(name) ?? "";
    return form.test(value) ? value : "";
  };
  return {
    words,
    weight,
    parts,
    table: tableNamed(address.get("in")),
    filter: {
      shape: one("shape", /^(landscape|portrait|square)$/),
      edge: one("edge", /^\d{1,6}$/),
      from: one("from", /^\d{4}-\d\d-\d\d$/),
      to: one("to", /^\d{4}-\d\d-\d\d$/),
      path: address.get("path") ?? "",
      score: one("score", /^-?[01]?\.?\d*$/),
      distinct: address.has("distinct"),
      newest: address.has("newest"),
      where: address.get("where") ?? "",
    },
  };
}

// --- the server

/**
 * The SQL expression that the filters make, or null.
 * @param {Question} question
 * @returns {string | null}
 */
export function whereOf(question) {
  const { filter } = question;
  const all = [];
  if (question.table === "images") {
    if (filter.shape) all.push(SHAPES[filter.shape]);
    if (filter.edge) all.push(`greatest(width, height) >= ${Number(filter.edge)}`);
    if (filter.from) all.push(`taken_at >= '${filter.from}'`);
    if (filter.to) all.push(`taken_at < '${dayAfter(filter.to)}'`);
  }
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
  const quoted = text.replaceAll("'", "''");
  if (!/[%_\\]/.test(quoted)) return `path ilike '%${quoted}%'`;
  return `path ilike '%${quoted.replace(/[%_\\]/g, "\\$&")}%' escape '\\'`;
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
 * @param {Question} question
 * @param {number} k
 * @param {number} offset
 * @returns {import("./messages.js").QueryBody}
 */
export function toQuery(question, k, offset) {
  const score = Number.parseFloat(question.filter.score);
  return {
    parts: partsOf(question).map(partBody),
    k,
    offset,
    table: question.table,
    where: whereOf(question),
    min_score: Number.isNaN(score) ? null : score,
    distinct: question.filter.distinct || null,
    sort: question.table === "images" && question.filter.newest ? "date" : "rank",
  };
}

/** @param {Part} part @returns {import("./messages.js").PartBody} */
function partBody({ kind, value, weight }) {
  if (kind === "text") return { text: value, weight };
  if (kind === "picture") return { picture: value, weight };
  return { like: Number(value), weight };
}
