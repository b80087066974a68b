// The chats that the visitor's browser keeps. Each tab has its own and never writes over what another tab wrote; the
// settings lead to the others.
(() => {
  const CHAT = "hfdemo_chat"; // a tab's own, in its storage; in the lasting one each has its id behind that
  const SIGN = "hfdemo_sign"; // of all that was kept since everything was forgotten, and forgotten with it
  const MOST = 20;
  const { hfdemo } = window;
  const { write } = hfdemo;
  // The address of a share link is somebody else's later, who would find what was kept under it.
  const isLent = /\.gradio\.live$/.test(location.hostname);
  const tab = hfdemo.storage("sessionStorage");
  const ofAllTabs = hfdemo.storage("localStorage");
  const lasting = isLent ? null : ofAllTabs;
  const parse = (text) => { try { return JSON.parse(text) ?? {}; } catch { return {}; } };
  const newId = () => `_${Math.random().toString(36).slice(2)}`;
  // What was kept may be of another version, or anything: a turn stands behind the one it follows.
  const isConversation = (kept) => {
    const known = new Set([null]);
    const isTurn = (turn) => {
      const right = turn && typeof turn.id === "string" && !known.has(turn.id) && known.has(turn.parent)
        && ["user", "assistant"].includes(turn.role) && [turn.content, turn.thought ?? ""].every((text) => typeof text === "string");
      if (right) known.add(turn.id);
      return right;
    };
    return Array.isArray(kept?.turns) && kept.turns.every(isTurn) && known.has(kept.head);
  };
  const read = (text) => {
    const { at = 0, id, since = null, conversation, settings = {}, lent = {}, draft } = parse(text);
    const said = isConversation(conversation) ? conversation : { turns: [], head: null };
    return { at, id, since, text, conversation: said, settings, lent, draft: typeof draft === "string" ? draft : "" };
  };
  const sign = () => ofAllTabs?.getItem(SIGN) ?? null;
  const newSign = () => { const next = newId(); return write(ofAllTabs, SIGN, next) ? next : null; };
  // Where there is no sign, a tab wrote it that had not heard yet that everything was forgotten.
  const isLeftOver = (chat) => chat.since !== null && sign() === null;
  // A chat that only this tab can keep stands beside the tab's own when another one is open.
  const shelves = [lasting, tab].filter(Boolean);
  const allChats = () => shelves.flatMap((shelf) => Object.keys(shelf).filter((key) => key.startsWith(CHAT) && key !== CHAT)
    .map((key) => ({ key, shelf, ...read(shelf.getItem(key)) })));
  const remove = ({ shelf, key }) => shelf.removeItem(key);
  const keptChats = () => allChats().filter((chat) => !isLeftOver(chat)).sort((one, other) => other.at - one.at);
  const isEmpty = ({ conversation, draft }) => !conversation.turns.length && !draft.trim();
  const contentOf = ({ conversation, settings, lent, draft }) => JSON.stringify({ conversation, settings, lent, draft });

  let isOpen = false;
  let id = newId();
  let since = null; // the sign when this tab's chat was kept
  let content = ""; // of this tab's chat, as it was read or written last
  let lasts = null; // what this tab read or wrote last in the lasting storage
  let keptAs = "lasting";
  let shown = null; // the open turn of a chat that this tab found: another tab may be at it

  const isForgotten = (chat) => isLeftOver(chat)
    || (chat.since !== null && chat.since !== sign() && !lasting?.getItem(CHAT + chat.id));
  hfdemo.chatOfTab = () => {
    const own = read(tab?.getItem(CHAT));
    if (!isForgotten(own)) return own;
    tab.removeItem(CHAT);
    return read(null);
  };
  // The page has opened: returns its chat; a new tab goes on with the one that was kept last.
  hfdemo.openChat = () => {
    allChats().filter(isLeftOver).forEach(remove);
    const own = hfdemo.chatOfTab();
    const chat = own.text ? own : keptChats()[0] ?? own;
    if (typeof chat.id === "string") ({ id } = chat);
    shown = own.text ? null : hfdemo.openTurn(chat.conversation);
    if (!own.text && !chat.conversation.turns.length) chat.lent = {}; // there is no chat to which it was lent
    content = contentOf(chat);
    const there = read(lasting?.getItem(CHAT + id));
    const isThere = Boolean(there.text) && there.at === chat.at; // what there was room for
    if (chat.text) keptAs = isThere && there.draft === chat.draft ? "lasting" : "tab";
    lasts = isThere ? there.text : chat.text;
    since = chat.text && sign();
    if (chat.text) write(tab, CHAT, chat.text);
    isOpen = true;
    return chat;
  };
  // Writes a chat where it lasts. Where there is no more room the oldest go, and are back if that doesn't help.
  const writeLasting = (key, text) => {
    if (write(lasting, key, text)) return true;
    const removed = [];
    for (const chat of keptChats().reverse()) {
      if (chat.key === key || chat.shelf !== lasting) continue;
      remove(chat);
      removed.push(chat);
      if (write(lasting, key, text)) return true;
    }
    removed.forEach((chat) => write(lasting, chat.key, chat.text));
    return false;
  };
  // Keeps this tab's chat, and returns where it could: "lasting", "tab" or "". What is as it was isn't written again.
  hfdemo.keepChat = (chat) => {
    if (!isOpen || contentOf(chat) === content) return keptAs;
    content = contentOf(chat);
    if (![null, lasts].includes(lasting?.getItem(CHAT + id) ?? null)) id = newId(); // another tab went on with that one
    since ??= sign() ?? newSign();
    const whole = { id, at: Date.now(), since, ...chat };
    const text = JSON.stringify(whole);
    const inTab = write(tab, CHAT, text);
    if (lasting && !lasting.getItem(CHAT + id)) { // a chat in which nothing was said takes no place from the others
      const others = keptChats();
      [...others.filter(isEmpty), ...others.filter((each) => !isEmpty(each)).slice(MOST - 1)].forEach(remove);
    }
    const isWhole = write(lasting, CHAT + id, text);
    let lacksDraft = false;
    if (isWhole) lasts = text;
    else if (chat.conversation.turns.length) { // for what is only typed, or nowhere shown, no chat goes
      const { head } = chat.conversation;
      const less = JSON.stringify({ ...whole, conversation: { turns: hfdemo.path(chat.conversation), head }, draft: "" });
      lacksDraft = writeLasting(CHAT + id, less);
      if (lacksDraft) lasts = less;
    }
    keptAs = isWhole || (lacksDraft && !chat.draft) ? "lasting" : inTab ? "tab" : "";
    return keptAs;
  };
  // Another chat takes the place of this tab's: what no other place keeps stays in the tab.
  const putAside = () => {
    const own = tab?.getItem(CHAT);
    const { conversation, draft } = read(own);
    if (keptAs === "tab" && (conversation.turns.length || draft)) write(tab, CHAT + id, own);
  };
  // A new chat begins in this tab; the one that was there is kept.
  hfdemo.beginChat = () => {
    putAside();
    if (hfdemo.conversation.turns.length) id = newId();
  };
  // What happens until the page is gone is kept no more.
  hfdemo.closeChat = () => { isOpen = false; };
  // Everything was forgotten in another tab: this one begins anew, too.
  const forgetToo = () => {
    hfdemo.closeChat();
    Object.keys(tab ?? {}).filter((key) => key.startsWith(CHAT)).forEach((key) => tab.removeItem(key));
    lasting?.removeItem(CHAT + id); // it may have been kept a moment after
    location.assign(location.pathname);
  };
  addEventListener("storage", ({ key, newValue }) => {
    if (isOpen && since !== null && newValue === null && [SIGN, null].includes(key)) forgetToo();
  });
  addEventListener("pageshow", ({ persisted }) => { if (persisted && isOpen && isForgotten({ id, since })) forgetToo(); });

  // The other chats, in the settings: those of which something isn't shown here already, be it only what was typed.
  const others = () => {
    const shown = new Set([...hfdemo.path().map((turn) => turn.id), hfdemo.boxText(), ""]);
    return keptChats().filter((chat) => {
      const parts = [...hfdemo.path(chat.conversation).map((turn) => turn.id), chat.draft.trim() && chat.draft];
      const isNew = chat.key !== CHAT + id && parts.some((part) => !shown.has(part));
      if (isNew) parts.forEach((part) => shown.add(part));
      return isNew;
    });
  };
  // The reply that is shown began in another tab, which it is left to.
  hfdemo.isOfAnotherTab = () => shown !== null && hfdemo.isReplying() && hfdemo.openTurn() === shown;
  const changeTo = (text, draft = hfdemo.boxText()) => {
    hfdemo.keepNow(draft);
    hfdemo.closeChat();
    putAside();
    write(tab, CHAT, text);
    location.reload();
  };
  const goTo = async ({ shelf, key, text }) => {
    if (!hfdemo.isOfAnotherTab()) await hfdemo.stopReply(hfdemo.conversation);
    changeTo(shelf.getItem(key) ?? text); // another tab may have gone on with it
  };
  // Begins a new chat without ending the reply of another tab, if one is shown; tells whether it does.
  hfdemo.beginApart = () => {
    if (!hfdemo.isOfAnotherTab()) return false;
    const { conversation } = read(null);
    changeTo(JSON.stringify({ id: newId(), since: sign(), conversation, ...hfdemo.keptSettings(), lent: {}, draft: hfdemo.boxText() }), "");
    return true;
  };
  // Deletes a chat, with the earlier states of it that other tabs had kept; returns what brings them back. A tab in which
  // it is open shows it still, and keeps it again only if somebody goes on with it there.
  const deleteChat = (chat) => {
    const turns = new Set(hfdemo.path(chat.conversation).map((turn) => turn.id));
    const isOfIt = ({ key, conversation }) => {
      const path = hfdemo.path(conversation);
      return key === chat.key || (key !== CHAT + id && path.length && path.every((turn) => turns.has(turn.id)));
    };
    const deleted = keptChats().filter(isOfIt);
    deleted.forEach(remove);
    return () => {
      for (const { shelf, key, text } of deleted) {
        const isFree = shelf.getItem(key) === null; // else another tab has gone on with that one
        write(shelf, isFree ? key : CHAT + newId(), text);
      }
      hfdemo.drawChats();
      document.querySelector("#chats button")?.focus();
    };
  };
  const button = (textContent, onClick) => {
    const made = Object.assign(document.createElement("button"), { type: "button", textContent });
    made.addEventListener("click", onClick);
    return made;
  };
  hfdemo.drawChats = () => {
    const forget = document.querySelector("#forget");
    if (!forget) return;
    const list = document.querySelector("#chats") ?? Object.assign(document.createElement("div"), { id: "chats" });
    if (!list.isConnected) forget.before(list);
    const lines = others().map((chat) => {
      const begins = (hfdemo.path(chat.conversation)[0]?.content ?? chat.draft).slice(0, 200);
      const line = Object.assign(document.createElement("div"), { className: "kept-chat" });
      const open = button(begins, () => goTo(chat));
      open.title = new Date(chat.at).toLocaleString(hfdemo.language);
      const discard = button("×", () => {
        const bringBack = button(hfdemo.say("chat_deleted"), deleteChat(chat));
        line.replaceChildren(bringBack);
        bringBack.focus();
      });
      discard.title = hfdemo.say("delete_chat", { chat: begins.slice(0, 60) });
      discard.setAttribute("aria-label", discard.title);
      line.append(open, discard);
      return line;
    });
    const title = Object.assign(document.createElement("h2"), { textContent: hfdemo.say("chats") });
    list.replaceChildren(...(lines.length ? [title, ...lines] : []));
  };
})();
