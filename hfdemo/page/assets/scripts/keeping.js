// What is open, kept in the visitor's browser: conversation, settings and draft come back with the page.
(() => {
  const CHAT = "hfdemo_chat";
  const { hfdemo } = window;
  const address = new URLSearchParams(location.search);
  // The address of a share link is somebody else's later, who would find what was kept under it.
  const isLent = /\.gradio\.live$/.test(location.hostname);
  const tab = hfdemo.storage("sessionStorage");
  const lasting = isLent ? null : hfdemo.storage("localStorage");
  const read = (storage) => { try { return JSON.parse(storage?.getItem(CHAT) ?? "null"); } catch { return null; } };
  const write = (storage, text) => { try { storage.setItem(CHAT, text); return true; } catch { return false; } };
  // What was kept may be of another version, or anything: a turn stands behind the one it follows.
  const isConversation = (kept) => {
    const known = new Set([null]);
    const isTurn = (turn) => {
      const right = turn && typeof turn.id === "string" && known.has(turn.parent) && ["user", "assistant"].includes(turn.role) && typeof turn.content === "string";
      if (right) known.add(turn.id);
      return right;
    };
    return Array.isArray(kept?.turns) && kept.turns.every(isTurn) && known.has(kept.head);
  };
  let opened = false;
  let timer = 0;

  hfdemo.keepNow = () => {
    clearTimeout(timer);
    timer = 0;
    if (!opened) return;
    const draft = document.querySelector("#message textarea")?.value ?? "";
    const { conversation } = hfdemo;
    const { settings, lent } = hfdemo.keptSettings();
    if (!conversation.turns.length && !draft && !Object.keys({ ...settings, ...lent }).length) {
      tab?.removeItem(CHAT);
      lasting?.removeItem(CHAT);
      return;
    }
    const text = JSON.stringify({ conversation, settings, lent, draft });
    const [inTab, lasts] = [write(tab, text), write(lasting, text)];
    hfdemo.sayOverBox(!conversation.turns.length || lasts ? "" : hfdemo.say(inTab ? "kept_for_tab" : "not_kept"), "kept");
  };
  hfdemo.keepSoon = () => { timer ||= setTimeout(hfdemo.keepNow, 200); };
  // Forgets all that this page has kept in the browser.
  hfdemo.forget = () => {
    opened = false;
    for (const storage of [tab, hfdemo.storage("localStorage")]) {
      for (const name of Object.keys(storage ?? {}).filter((each) => each.startsWith("hfdemo_"))) storage.removeItem(name);
    }
    location.assign(location.pathname);
  };
  // The page has opened: returns the language, the conversation, and the settings.
  hfdemo.open = () => {
    const inTab = read(tab);
    const kept = inTab ?? read(lasting) ?? {};
    const conversation = isConversation(kept.conversation) ? kept.conversation : hfdemo.conversation;
    const begun = inTab || conversation.turns.length; // else there is no chat to which anything was lent
    const settings = hfdemo.openSettings(begun ? kept : { ...kept, lent: {} }, address);
    hfdemo.conversation = conversation;
    opened = true;
    const asked = address.get("q");
    const draft = [asked, asked === kept.draft ? null : kept.draft].filter(Boolean).join("\n\n"); // neither is lost
    if (draft) hfdemo.setBox(draft);
    if (address.size) history.replaceState(history.state, "", location.pathname); // what it asked for is there now
    return [hfdemo.language, conversation, ...settings];
  };
  document.addEventListener("input", (event) => { if (event.target.closest?.("#message")) hfdemo.keepSoon(); }, true);
  addEventListener("pagehide", hfdemo.keepNow);
  document.addEventListener("visibilitychange", () => { if (document.hidden) hfdemo.keepNow(); });

  // A reply goes on for a page that is loaded again, and ends for one that is closed.
  const tell = (state, turn) => navigator.sendBeacon?.(`presence/${state}`, turn);
  addEventListener("pagehide", () => {
    const turn = hfdemo.isReplying() && hfdemo.openTurn();
    if (turn) tell("left", turn);
  });
  addEventListener("pageshow", ({ persisted }) => { if (persisted) hfdemo.checkConnection(); }); // from the back button
  const kept = read(tab)?.conversation;
  const turn = isConversation(kept) && hfdemo.openTurn(kept);
  if (turn) tell("back", turn);
})();
