/** The end of the list of pictures: whoever comes near it is given further ones. */
import { byId } from "./elements.js";

const NEAR = 1600; // pixels below the window

export class ListEnd {
  #sentinel = byId("sentinel", HTMLElement);

  /** @param {() => Promise<void>} reached what to do where the end is near */
  constructor(reached) {
    this.reached = reached;
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) void reached();
    }, { rootMargin: `${NEAR}px 0px` });
    observer.observe(this.#sentinel);
  }

  /** Looks again, once what has come is drawn: an observer only tells of changes. */
  async look() {
    await new Promise(requestAnimationFrame);
    if (this.#sentinel.getBoundingClientRect().top < innerHeight + NEAR) await this.reached();
  }
}
