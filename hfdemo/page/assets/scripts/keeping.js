// What is open, kept in the visitor's browser: conversation, settings and draft come back with the page.
(() => {
  const { hfdemo } = window;
  const address = new URLSearchParams(location.search);
  const KEPT = /^(hfdemo_|_saved_conversations_)/; // the latter is Gradio's, from earlier versions of this page
  const LITTLE_CHARS = 1000; // what was typed and not yet sent; of more it is said where it isn't kept
  let timer = 0;

  hfdemo.keepNow = (draft = hfdemo.boxText()) => {
    clearTimeout(timer);
    timer = 0;
    const { conversation } = hfdemo;
    hfdemo.lookForDirection(conversation, draft);
    const kept = hfdemo.keepChat({ conversation, ...hfdemo.keptSettings(), draft });
    const isLittle = !conversation.turns.length && draft.length < LITTLE_CHARS;
    hfdemo.sayOverBox(isLittle || kept === "lasting" ? "" : hfdemo.say(kept ? "kept_for_tab" : "not_kept"), "kept");
  };
  hfdemo.keepSoon = () => { timer ||= setTimeout(() => hfdemo.keepNow(), 200); };
  // Forgets all that this page has kept in the browser.
  hfdemo.forget = () => {
    hfdemo.closeChat();
    for (const storage of [hfdemo.storage("sessionStorage"), hfdemo.storage("localStorage")]) {
      for (const name of Object.keys(storage ?? {}).filter((each) => KEPT.test(each))) storage.removeItem(name);
    }
    location.assign(location.pathname);
  };
  // The page has opened: returns the language, the conversation, and the settings.
  hfdemo.open = () => {
    const kept = hfdemo.openChat();
    const settings = hfdemo.openSettings(kept, address);
    hfdemo.conversation = kept.conversation;
    if (hfdemo.openTurn()) hfdemo.lockAgain(); // until it is resumed
    hfdemo.lookForDirection(kept.conversation, kept.draft);
    hfdemo.drawChats();
    const asked = address.get("q");
    const draft = [asked, asked === kept.draft ? null : kept.draft].filter(Boolean).join("\n\n"); // neither is lost
    if (draft) hfdemo.setBox(draft);
    hfdemo.focusBox();
    if (location.search) history.replaceState(history.state, "", location.pathname); // what it asked for is there now
    return [hfdemo.language, kept.conversation, ...settings];
  };
  document.addEventListener("input", (event) => { if (event.target.closest?.("#message")) hfdemo.keepSoon(); }, true);
  addEventListener("pagehide", () => hfdemo.keepNow());
  document.addEventListener("visibilitychange", () => { if (document.hidden) hfdemo.keepNow(); });

  // A reply goes on for a page that is loaded again, and ends for one that is closed.
  const tell = (state, turn) => navigator.sendBeacon?.(`presence/${state}`, turn);
  addEventListener("pagehide", () => {
    const turn = hfdemo.isReplying() && hfdemo.openTurn();
    if (turn && !hfdemo.isOfAnotherTab()) tell("left", turn);
  });
  addEventListener("pageshow", ({ persisted }) => { if (persisted) hfdemo.checkConnection(); }); // from the back button
  const turn = hfdemo.openTurn(hfdemo.chatOfTab().conversation);
  if (turn) tell("back", turn);
})();
