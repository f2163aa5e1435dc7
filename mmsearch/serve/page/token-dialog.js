/** Asks for the token of a server that wants one. */
import { ApiError, enter } from "./api.js";
import { byId, say } from "./elements.js";

export class TokenDialog {
  #dialog = byId("token", HTMLDialogElement);
  #field = byId("token-field", HTMLInputElement);
  #error = byId("token-error", HTMLElement);

  /** @param {() => Promise<void>} entered what to do once the server has taken the token */
  constructor(entered) {
    byId("token-form", HTMLFormElement).addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        await enter(this.#field.value.trim());
        this.#field.value = "";
        say(this.#error, "");
        this.#dialog.close();
        await entered();
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        say(this.#error, error.status === 401 ? "That is not the token of this server." : error.message);
      }
    });
  }

  open() {
    if (!this.#dialog.open) this.#dialog.showModal();
  }
}
