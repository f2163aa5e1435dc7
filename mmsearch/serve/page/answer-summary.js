/**
 * What the page says about an answer, around its pictures: how many, how fast, what to mind, and why there are none.
 *
 * @typedef {import("./api.js").Gallery} Gallery
 * @typedef {import("./search.js").Shown} Shown
 */
import { byId, element, say } from "./elements.js";
import { filtersSet, isAsked, isTimeline, titleOf } from "./query.js";
import { count, counted, sentence, shown } from "./text.js";

const EXAMPLES = 5;

export class AnswerSummary {
  #nothing = byId("nothing", HTMLElement);

  /**
   * @param {{example: (words: string) => void, unfilter: () => void}} on
   *   example: one was chosen. unfilter: take the filters away.
   */
  constructor(on) {
    this.on = on;
  }

  /**
   * @param {Shown} answer
   * @param {Gallery | null} gallery null where it is not known yet
   * @param {number} deepest the most hits that the server gives
   */
  describe(answer, gallery, deepest) {
    const asked = isAsked(answer.query);
    const filtered = filtersSet(answer.query) > 0;
    const what = itemsOf(answer);
    const all = searched(answer, gallery);
    const timeline = isTimeline(answer.query);
    byId("start", HTMLElement).hidden = asked || filtered || timeline;
    byId("asked-title", HTMLElement).textContent = asked ? titleOf(answer.query) : filtered ? "Filtered pictures" : "";
    const strip = byId("grid-title", HTMLElement);
    strip.textContent = timeline ? timelineTitle(answer) : asked ? "Answers, best first" : filtered ? "Some of what the filters admit" : "From all over the gallery";
    strip.classList.toggle("unseen", asked);
    const among = filtered ? "of what the filters admit" : gallery ? `of ${counted(all, what)}` : "first";
    const doubtful = answer.worth && typeof answer.probability === "number";
    const note = answer.worth && !doubtful ? ` · ${answer.worth}` : "";
    const second = typeof answer.reranked === "number" ? ` · ${count(answer.reranked)} re-ranked` : "";
    const summary = `Best ${among}${second} · ${Math.max(1, Math.round(answer.took))} ms${note}`;
    say(byId("summary", HTMLElement), asked && answer.hits.length ? summary : "");
    if (!asked && !filtered && !timeline) this.#offer(gallery?.answers_text === false ? [] : answer.captions);
    const doubts = doubtful && answer.worth ? [answer.worth] : [];
    warn(asked && answer.hits.length ? [...doubts, ...answer.warnings] : []);
    this.#explainNothing(answer, gallery);
    say(byId("end", HTMLElement), endOf(answer, deepest));
  }

  /**
   * An answer as screen readers are told of it.
   * @param {Shown} answer
   */
  spoken(answer) {
    if (isTimeline(answer.query)) return timelineTitle(answer);
    if (!isAsked(answer.query)) return "";
    if (!answer.hits.length) return `Nothing was found. ${answer.warnings.join(" ")}`;
    return `${counted(answer.hits.length, itemsOf(answer))}${answer.more ? ", more below" : ""}`;
  }

  /**
   * Says in the middle of the page why there are no pictures.
   * @param {string} words
   * @param {string} why
   * @param {[string, () => void] | null} way out of it
   */
  sayNothing(words, why, way) {
    this.#nothing.hidden = false;
    byId("nothing-words", HTMLElement).textContent = words;
    byId("nothing-why", HTMLElement).textContent = why;
    const button = byId("nothing-button", HTMLButtonElement);
    say(button, way?.[0] ?? "");
    button.onclick = way?.[1] ?? null;
  }

  /**
   * Says that nothing was found, and why, where that is so.
   * @param {Shown} answer
   * @param {Gallery | null} gallery
   */
  #explainNothing(answer, gallery) {
    this.#nothing.hidden = answer.hits.length > 0 || Boolean(answer.months?.length);
    if (!this.#nothing.hidden) {
      const what = itemsOf(answer);
      if (gallery && !searched(answer, gallery)) {
        return this.sayNothing(`This gallery holds no ${what}s yet`, "Add some: mmsearch embed FOLDER", null);
      }
      const filtered = filtersSet(answer.query);
      const why = answer.warnings.map((one) => shown(one.charAt(0).toUpperCase() + one.slice(1))).join(". ");
      const way = /** @type {[string, () => void]} */ (["Take the filters away", this.on.unfilter]);
      this.sayNothing("Nothing was found", why || (filtered ? "The filters admit nothing." : ""), filtered ? way : null);
    }
  }

  /**
   * Offers examples of what can be asked.
   * @param {string[]} captions of the gallery
   */
  #offer(captions) {
    const group = byId("examples", HTMLElement);
    group.hidden = !captions.length;
    const buttons = captions.slice(0, EXAMPLES).map((caption) => {
      const text = sentence(caption).replace(/[\s.]+$/, "");
      const button = element("button", { type: "button", class: "example", dir: "auto" }, text);
      button.addEventListener("click", () => this.on.example(text));
      return button;
    });
    group.replaceChildren(...buttons);
  }
}

/**
 * Among how many items the answer was looked for.
 * @param {Shown} answer
 * @param {Gallery | null} gallery
 */
function searched(answer, gallery) {
  const { images, captions } = gallery ?? { images: 0, captions: 0 };
  return { images, captions, both: images + captions }[answer.query.table];
}

/** @param {Shown} answer */
function timelineTitle({ months = [] }) {
  return `${counted(months.reduce((all, { count }) => all + count, 0), "picture")} by month, newest first`;
}

/** @param {Shown} answer */
function itemsOf(answer) {
  return { images: "picture", captions: "caption", both: "item" }[answer.query.table];
}

/**
 * What stands below the last picture.
 * @param {Shown} answer
 * @param {number} deepest
 */
function endOf(answer, deepest) {
  const last = answer.hits.at(-1);
  if (answer.more || !isAsked(answer.query) || !last) return "";
  if (last.rank >= deepest) return `These are the best ${count(deepest)}. To see others, ask for something closer.`;
  return `That is all: ${counted(answer.hits.length, itemsOf(answer))}.`;
}

/** @param {string[]} warnings */
function warn(warnings) {
  const list = byId("warnings", HTMLElement);
  list.hidden = !warnings.length;
  list.replaceChildren(...warnings.map((one) => element("li", { dir: "auto" }, shown(one))));
}
