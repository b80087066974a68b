// What Gradio 6.31 does not do well by itself.
(() => {
  const { hfdemo } = window;
  // Gradio counts the seconds of a status in every animation frame, also of one that is hidden or, as its loading sign,
  // long gone (6.31): 60 frames a second for ever, a tenth of a core. Counted is only what is shown.
  const nextFrame = window.requestAnimationFrame.bind(window);
  const countsSeconds = (callback) => /performance\.now\(\).*1e3/.test(callback);
  const isShown = () => document.querySelector('[data-testid="status-tracker"]:not(.hide)');
  window.requestAnimationFrame = (callback) =>
    nextFrame(countsSeconds(callback) ? (time) => { if (isShown()) callback(time); } : callback);

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

  // Fields that were folded away get their values a moment after they are there: what was typed before that is typed again.
  const SETTLED_MS = 500;
  const cameAt = new WeakMap();
  const typed = new WeakMap();
  const fieldsIn = (node) => node.querySelectorAll?.("textarea, input") ?? [];
  new MutationObserver((changes) => {
    for (const { target, addedNodes } of changes) {
      if (target.closest?.("#settings")) for (const node of addedNodes) for (const field of fieldsIn(node)) cameAt.set(field, performance.now());
    }
  }).observe(document, { subtree: true, childList: true });
  const typeAgain = (field) => {
    if (field.value !== typed.get(field)) {
      field.value = typed.get(field);
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
    if (performance.now() - cameAt.get(field) < SETTLED_MS) nextFrame(() => typeAgain(field));
    else typed.delete(field);
  };
  document.addEventListener("input", ({ target }) => {
    if (!(performance.now() - cameAt.get(target) < SETTLED_MS)) return;
    const isWatched = typed.has(target);
    typed.set(target, target.value);
    if (!isWatched) nextFrame(() => typeAgain(target));
  }, true);

  // Gradio names each message by its whole HTML, and most of what can be used in English, or not at all.
  const NAMES = {
    "#transcript .message-buttons button[aria-label='Copy message']:not([data-copy])": "copy_message",
    "#message .submit-button": "send",
    "#message .stop-button": "stop",
    "#settings .toggle-button": "settings",
    "#latest .message-buttons button:not([data-copy], :has(.feather-rotate-ccw))": "retry",
    "#latest .message-buttons button:has(.feather-rotate-ccw)": "undo",
    "#scroller": "conversation",
    "#settings button.reset-button": "reset_value",
  };
  const KIND_OF_FIELD = /^(number input|range slider) for /; // its role says so, in the reader's own language
  const rename = (root) => {
    const all = (selector) => [...(root.matches?.(selector) ? [root] : []), ...root.querySelectorAll(selector)];
    for (const message of all("#transcript [data-testid][aria-label]")) message.removeAttribute("aria-label");
    for (const [selector, word] of Object.entries(NAMES)) {
      for (const button of all(selector)) {
        const name = hfdemo.say(word);
        if (word === "copy_message") button.dataset.copy = "";
        if (button.getAttribute("aria-label") !== name) button.setAttribute("aria-label", name);
        if (button.matches("button")) button.title = name;
      }
    }
    for (const field of all("#settings input[aria-label]")) {
      const name = field.getAttribute("aria-label");
      if (KIND_OF_FIELD.test(name)) field.setAttribute("aria-label", name.replace(KIND_OF_FIELD, ""));
    }
    for (const picture of all("#transcript button svg[aria-label]")) picture.removeAttribute("aria-label");
    for (const starter of all("#transcript button.example[aria-label]")) starter.removeAttribute("aria-label");
    for (const title of all("#transcript .thought-group > .title[role]")) { // a button in a button
      title.removeAttribute("role");
      title.removeAttribute("tabindex");
      title.removeAttribute("aria-busy");
    }
    for (const button of all("#transcript .thought-group > .title button")) {
      const name = button.closest(".title").textContent.trim();
      if (button.getAttribute("aria-label") !== name) button.setAttribute("aria-label", name);
      button.setAttribute("aria-expanded", button.closest(".title").classList.contains("expanded"));
    }
    for (const part of all("#scroller [role=log]")) { // the two are one; what is read out: see announceReply
      for (const name of ["role", "aria-label", "aria-live"]) part.removeAttribute(name);
      part.closest("#scroller").setAttribute("role", "log");
      part.closest("#scroller").setAttribute("aria-live", "off");
    }
    for (const list of all("#transcript .examples[role]")) list.removeAttribute("role");
  };
  new MutationObserver((changes) => { // of a chat of a hundred turns, each piece of a reply changes one
    const isConcerned = {
      class: ({ target }) => target.matches(".thought-group > .title"), // it was opened or closed
      "aria-label": ({ target }) => target.hasAttribute("aria-label"),
    };
    const concerned = changes.filter((change) => change.attributeName ? isConcerned[change.attributeName](change) : change.addedNodes.length);
    new Set(concerned.map(({ target }) => target.closest?.(".message-row") ?? target)).forEach(rename);
  }).observe(document, { subtree: true, childList: true, attributeFilter: ["aria-label", "class"] });

  // A reply is read out once, when it has ended; as much of it as one listens to, and as can be laid out in a moment.
  const MOST_READ_OUT = 10_000;
  const MARKS_ON_A_LETTER = /(\p{M}{8})\p{M}+/gu;
  let readOut; // the turn, in the state in which it was read out
  const region = Object.assign(document.createElement("div"), { id: "announcement" });
  region.setAttribute("aria-live", "polite");
  document.addEventListener("DOMContentLoaded", () => document.body.append(region)); // what comes with its text is not read
  hfdemo.announceReply = () => {
    const last = hfdemo.path().at(-1);
    const state = last && JSON.stringify([last.id, last.content.length, last.receipt]);
    if (state === readOut) return; // a message was refused: nothing is new
    readOut = state;
    const said = last?.role === "assistant" ? last.content.slice(0, MOST_READ_OUT) : "";
    region.textContent = ""; // the same text once more would be none
    requestAnimationFrame(() => { region.textContent = said.replace(MARKS_ON_A_LETTER, "$1"); });
  };
})();
