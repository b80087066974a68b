// Keys: Enter sends where there is a keyboard, Escape stops or closes, and the others that `?` shows.
(() => {
  const { hfdemo } = window;
  const box = () => document.querySelector("#message textarea");
  const isTyping = (element) => element?.matches?.("input, textarea, select, [contenteditable]");
  const show = () => {
    let dialog = document.querySelector("#keys");
    if (!dialog) {
      dialog = Object.assign(document.createElement("dialog"), { id: "keys" });
      const close = Object.assign(document.createElement("button"), { textContent: hfdemo.say("close") });
      close.addEventListener("click", () => dialog.close());
      const list = document.createElement("dl");
      for (const line of hfdemo.say("keys").split("\n")) {
        const [key, meaning] = line.split("|");
        list.append(Object.assign(document.createElement("dt"), { textContent: key }), Object.assign(document.createElement("dd"), { textContent: meaning }));
      }
      dialog.append(list, close);
      document.body.append(dialog);
    }
    if (!dialog.open) dialog.showModal();
  };
  const withShift = {
    KeyO: () => document.querySelector("#new-chat").click(),
    KeyC: () => hfdemo.copyLastReply(),
  };
  const isOfInputMethod = (event) => event.isComposing || event.keyCode === 229; // the latter in Safari
  const breaksLine = (event) => !event.ctrlKey && !event.metaKey
    && (isOfInputMethod(event) || matchMedia("(pointer: coarse)").matches);
  document.addEventListener("keypress", (event) => {
    if (event.key === "Enter" && event.target === box() && breaksLine(event)) event.stopPropagation(); // Gradio would send
  }, true);
  document.addEventListener("keydown", (event) => {
    const inBox = event.target === box();
    if (event.key === "Enter" && inBox) {
      if (breaksLine(event)) event.stopPropagation();
      else if (!event.shiftKey && (hfdemo.isReplying() || !box().value.trim())) {
        event.preventDefault();
        event.stopPropagation();
      }
    } else if (isOfInputMethod(event)) {
      // it chooses or discards letters
    } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
      if (!event.target.closest?.("#settings")) document.querySelector("#message .stop-button")?.click();
      else if (!document.querySelector("#settings [role=listbox]")) hfdemo.toggleSettings();
    } else if ((event.ctrlKey || event.metaKey) && event.shiftKey && event.code in withShift) {
      event.preventDefault();
      withShift[event.code]();
    } else if (!isTyping(event.target) && !event.ctrlKey && !event.metaKey && !event.altKey) {
      if (event.key === "/") { event.preventDefault(); box().focus(); }
      if (event.key === "?") show();
    }
  }, true);
})();
