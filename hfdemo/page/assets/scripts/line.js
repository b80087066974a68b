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
  // Says something that goes by itself when somebody has had the time to read it.
  hfdemo.sayBriefly = (text) => {
    hfdemo.sayOverBox(text);
    const end = () => { if (said.action === text) hfdemo.sayOverBox(""); };
    const begin = () => setTimeout(end, 3000 + 60 * text.length);
    if (document.hidden) document.addEventListener("visibilitychange", begin, { once: true });
    else begin();
  };

  // What Gradio says in a box over the page moves into the line. Its own words are in English and say nothing of what to
  // do; all others are ours.
  const GRADIOS = {
    not_taken: /^(This application is currently busy|Connection errored out|Queue is full|Could not parse server response|Failed to fetch)/,
    unexpected: /^(An Unexpected Error Occurred|Server stopped unexpectedly)/,
  };
  const inOurWords = (text) => {
    const ours = Object.keys(GRADIOS).find((word) => GRADIOS[word].test(text));
    return ours ? hfdemo.say(ours) : text;
  };
  const takeToasts = () => {
    for (const message of document.querySelectorAll(".toast-body .toast-message-text:not([data-taken])")) {
      message.dataset.taken = "";
      const text = message.textContent.trim();
      if (text && hfdemo.connected) hfdemo.sayOverBox(inOurWords(text));
    }
  };
  new MutationObserver((changes) => {
    if (changes.some(({ addedNodes }) => addedNodes.length)) { takeToasts(); draw(); }
  }).observe(document, { subtree: true, childList: true });
})();
