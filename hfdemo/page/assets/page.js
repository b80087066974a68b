// Runs before Gradio: the visitor's language, and copies of what was written.
(() => {
  const CHAT = "hfdemo_chat";
  const LANGUAGE = "hfdemo_language";
  const LANGUAGES = __LANGUAGES__; // the server fills them in
  const DEFAULTS = __DEFAULTS__; // of the options for which a model may recommend others
  const WORDS = __WORDS__;
  const EMPTY = { turns: [], head: null };
  let stoppedAt = null; // the last turn when a reply was stopped to undo or retry it
  let defaults = DEFAULTS; // of the model that answers
  const waiting = []; // for the end of the reply that comes
  const stopButton = () => document.querySelector("#message .stop-button");
  const storage = (name) => { try { return window[name]; } catch { return null; } }; // refused in some frames
  const chosen = storage("localStorage")?.getItem(LANGUAGE);
  const preferred = navigator.language.toLowerCase().split("-")[0];
  const language = chosen || (LANGUAGES.includes(preferred) ? preferred : LANGUAGES[0]);
  if (chosen) { // Gradio picks its words by the browser's language
    Object.defineProperty(navigator, "language", { get: () => chosen });
    Object.defineProperty(navigator, "languages", { get: () => [chosen] });
  }
  document.documentElement.lang = language;

  const path = ({ turns, head }) => { // the turns that are shown, the first one first
    const byId = Object.fromEntries(turns.map((turn) => [turn.id, turn]));
    const shown = [];
    for (let turn = byId[head]; turn; turn = byId[turn.parent]) shown.unshift(turn);
    return shown;
  };

  window.hfdemo = {
    conversation: EMPTY, // what is drawn, as data
    keep(conversation) { this.conversation = conversation; },
    // The page has opened: returns the language, the settings' sidebar (open where there is room), the conversation.
    open() {
      const kept = storage("sessionStorage")?.getItem(CHAT);
      storage("sessionStorage")?.removeItem(CHAT);
      this.conversation = kept ? JSON.parse(kept) : EMPTY;
      return [language, { open: window.innerWidth > 1100, __type__: "update" }, this.conversation];
    },
    // Fails if the server doesn't answer.
    async ping() {
      if (!(await fetch("gradio_api/app_id")).ok) throw new Error("The server does not answer.");
    },
    // Labels change when the page loads, so the conversation is kept over the load.
    changeLanguage(next, conversation) {
      storage("localStorage")?.setItem(LANGUAGE, next);
      storage("sessionStorage")?.setItem(CHAT, JSON.stringify(conversation));
      location.reload();
    },
    // Closes the box at once: what was typed until the server answers would be lost. One reply comes at a time.
    lock() {
      if (stopButton()) throw new Error("A reply is already being generated.");
      return { interactive: false, submit_btn: false, stop_btn: true, __type__: "update" };
    },
    unlock() {
      return { interactive: true, submit_btn: true, stop_btn: false, __type__: "update" };
    },
    // A reply's event has ended. Typing goes on without a click; on a phone the keyboard would jump up, so not there.
    replyEnded(conversation) {
      this.keep(conversation);
      waiting.splice(0).forEach((resolve) => resolve());
      if (matchMedia("(hover: hover)").matches) document.querySelector("#message textarea").focus();
    },
    // Ends the reply that comes, and waits until its event has ended: then nothing more of it is drawn.
    async stopReply(conversation) {
      const button = stopButton();
      stoppedAt = button && conversation ? conversation.head : null;
      if (!button) return;
      const ended = new Promise((resolve) => waiting.push(resolve));
      button.click();
      await ended;
      while (stopButton()) await new Promise((resolve) => setTimeout(resolve, 20)); // until that is drawn, too
    },
    // Fails if the stop alone has put the message back into the box: then there is nothing more to undo or to retry.
    unlessReverted(conversation) {
      if (stoppedAt && !conversation.turns.some((turn) => turn.id === stoppedAt)) throw new Error("Reverted already.");
    },
    // Another model recommends other values: returns those of the options that nobody has touched, and isn't editing.
    followModel(recommended, values) {
      const before = defaults;
      defaults = { ...DEFAULTS, ...recommended };
      const edited = document.activeElement?.closest("input") && optionOf(document.activeElement);
      return Object.keys(DEFAULTS).map((name, index) =>
        values[index] === before[name] && name !== edited ? defaults[name] : { __type__: "update" });
    },
    // Box, transcript, conversation, Continue and meter of an empty chat.
    cleared() {
      this.keep(EMPTY);
      return [this.unlock(), [], EMPTY, { visible: false, __type__: "update" }, ""];
    },
    // Saves the path that is shown as a JSON file: what was typed and generated, thoughts, and the receipts' values.
    save(conversation, systemPrompt) {
      const messages = path(conversation).map(({ role, content, thought, receipt }) => (
        { role, content, ...(thought && { thought }), ...(receipt && { receipt }) }));
      const file = new Blob([JSON.stringify({ system_prompt: systemPrompt, messages }, null, 2)], { type: "application/json" });
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: "chat.json" });
      link.click();
      URL.revokeObjectURL(link.href);
    },
  };

  // Gradio counts the seconds of a status in every animation frame, also of one that is hidden or, as its loading sign,
  // long gone (6.31): 60 frames a second for ever, a tenth of a core. Counted is only what is shown.
  const nextFrame = window.requestAnimationFrame.bind(window);
  const countsSeconds = (callback) => /performance\.now\(\).*1e3/.test(callback);
  const isShown = () => document.querySelector('[data-testid="status-tracker"]:not(.hide)');
  window.requestAnimationFrame = (callback) =>
    nextFrame(countsSeconds(callback) ? (time) => { if (isShown()) callback(time); } : callback);

  // The arrow beside an option goes back to the model's value; Gradio's own one to what was there when it was drawn.
  const optionOf = (element) => element.closest("[id].block")?.id.replaceAll("-", "_");
  document.addEventListener("click", (event) => {
    const arrow = event.target.closest?.(".reset-button");
    const name = arrow && optionOf(arrow);
    if (!(name in DEFAULTS)) return;
    event.stopImmediatePropagation();
    const field = arrow.closest("[id].block").querySelector("input[type=number]");
    field.value = defaults[name];
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }, true);

  // Where any model may be typed, Enter takes what was typed, and not the first in the list that has it in its name;
  // after an arrow key it takes what that one marked.
  let marked = false;
  document.addEventListener("keydown", (event) => {
    if (!event.target.matches?.("#model.any-model input")) return;
    if (event.key === "Enter" && !marked && !event.isComposing) {
      event.stopPropagation();
      event.target.blur();
    }
    marked = event.key === "ArrowUp" || event.key === "ArrowDown";
  }, true);

  // Copies of a message and of code have the text as it was written, from the conversation and not from what is drawn.
  const COPY = "#transcript .copy-code, #transcript .message-buttons button[data-copy]";
  const drawnText = (row) => row.querySelector(".message:not(.thought) :is(.typed, .message-content)")?.innerText ?? "";
  const written = (row) => {
    const role = row.matches(".user-row") ? "user" : "assistant";
    const rows = [...document.querySelectorAll(`#transcript .message-row.${row.matches(".user-row") ? "user" : "bot"}-row`)];
    const coming = stopButton() && row === rows.at(-1); // what is kept of it is older than what is drawn
    const turn = coming ? null : path(window.hfdemo.conversation).filter((each) => each.role === role)[rows.indexOf(row)];
    return turn ? turn.content || turn.thought : drawnText(row);
  };
  const copyByCommand = (text) => { // where there is no clipboard for scripts: on plain http, or refused
    const area = Object.assign(document.createElement("textarea"), { value: text, readOnly: true });
    area.style.cssText = "position: fixed; inset: 0 auto auto 0; opacity: 0";
    document.body.append(area);
    area.select();
    try { return document.execCommand("copy"); } catch { return false; } finally { area.remove(); }
  };
  const copy = async (text) => {
    try { await navigator.clipboard.writeText(text); return true; } catch { return copyByCommand(text); }
  };
  const sayOverBox = (text) => {
    const line = document.querySelector("#line-over-box") ?? Object.assign(document.createElement("div"), { id: "line-over-box", role: "status" });
    document.querySelector("#message").before(line);
    line.textContent = text;
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.(COPY);
    if (!button) return;
    event.stopImmediatePropagation(); // Gradio would copy what is drawn, and show a tick in any case
    const code = button.closest(".code-box")?.querySelector("code");
    const copied = await copy(code ? code.textContent : written(button.closest(".message-row")));
    sayOverBox(copied ? "" : WORDS[language].copy_refused);
    if (!copied) return;
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1500);
  }, true);

  // Gradio names each message by its whole HTML, and the button that copies it in English alone (6.31).
  const rename = (element) => {
    for (const message of element.querySelectorAll("#transcript [data-testid][aria-label]")) message.removeAttribute("aria-label");
    for (const button of element.querySelectorAll("#transcript .message-buttons button[aria-label='Copy message']:not([data-copy])")) {
      button.dataset.copy = "";
      button.title = WORDS[language].copy_message;
      button.setAttribute("aria-label", button.title);
    }
  };
  new MutationObserver((changes) => {
    if (changes.some(({ attributeName, target, addedNodes }) => attributeName ? target.hasAttribute("aria-label") : addedNodes.length)) rename(document);
  }).observe(document, { subtree: true, childList: true, attributeFilter: ["aria-label"] });
})();
