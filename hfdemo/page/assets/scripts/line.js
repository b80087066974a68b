// One line over the box says what was refused and what is the matter; Gradio would cover the chat with it.
(() => {
  const { hfdemo } = window;
  const said = {}; // by who says it
  const draw = () => {
    const box = document.querySelector("#message");
    if (!box) return;
    const line = document.querySelector("#line-over-box") ?? Object.assign(document.createElement("div"), { id: "line-over-box" });
    line.setAttribute("role", "status");
    if (!line.isConnected) (box.closest(".row") ?? box).before(line);
    const texts = Object.values(said).filter(Boolean);
    if (line.textContent !== texts.join("")) line.replaceChildren(...texts.map((text) => Object.assign(document.createElement("div"), { textContent: text })));
  };
  // Says something, in place of what the same one said before; without a text, nothing.
  hfdemo.sayOverBox = (text, who = "action") => { said[who] = text; draw(); };

  // What Gradio says in a box over the page moves into the line. Ours are titled; its own are English and of one kind:
  // the server took no message.
  const takeToasts = () => {
    for (const toast of document.querySelectorAll(".toast-body")) {
      if (toast.dataset.taken) continue;
      toast.dataset.taken = "";
      const title = toast.querySelector(".toast-title")?.textContent.trim();
      const text = toast.querySelector(".toast-text")?.textContent.trim();
      if (hfdemo.connected) hfdemo.sayOverBox(title === hfdemo.say("error") ? text : hfdemo.say("not_taken"));
    }
  };
  new MutationObserver((changes) => {
    if (changes.some(({ addedNodes }) => addedNodes.length)) { takeToasts(); draw(); }
  }).observe(document, { subtree: true, childList: true });
})();
