// The conversation as data, and what the page does around a turn before and after the server takes part.
(() => {
  const { hfdemo } = window;
  const EMPTY = { turns: [], head: null };
  let stoppedAt = null; // the last turn when a reply was stopped to undo or retry it
  let sent = null; // the text that was sent, and how many turns were shown then
  let locked = false; // from the click until the reply's event has ended
  const waiting = []; // for the end of the reply that comes
  const area = () => document.querySelector("#message textarea");
  hfdemo.boxText = () => area()?.value ?? "";
  const stopButton = () => document.querySelector("#message .stop-button");
  const update = (values) => ({ ...values, __type__: "update" });
  const REPLYING = () => update({ submit_btn: false, stop_btn: true });
  const READY = () => update({ submit_btn: true, stop_btn: false });

  // What was pressed to have or to end a reply: it goes away then, or would be pressed again by a space that is typed.
  const PRESSED = "#message button, #transcript button.example, #transcript .message-buttons button:not([data-copy]), #continue, #new-chat, #to-end";
  // Typing goes on without a click where nothing else has the focus; on a phone the keyboard would jump up, so not there.
  // Gradio's own autofocus takes the focus from wherever it is, each time the box begins or ends to scroll.
  hfdemo.focusBox = () => {
    const { activeElement: active } = document;
    const wasPressed = active?.matches(PRESSED);
    const { isCollapsed, anchorNode } = getSelection(); // what somebody has marked would be marked no more
    if (!isCollapsed && document.querySelector("#transcript")?.contains(anchorNode)) return;
    if (!wasPressed && active !== document.body && active?.isConnected) return;
    if (matchMedia("(hover: hover)").matches) area().focus();
    else if (wasPressed) active.blur();
  };

  hfdemo.conversation = EMPTY; // what is drawn
  hfdemo.path = ({ turns, head } = hfdemo.conversation) => { // the turns that are shown, the first one first
    const byId = Object.fromEntries(turns.map((turn) => [turn.id, turn]));
    const shown = [];
    for (let turn = byId[head]; turn; turn = byId[turn.parent]) shown.unshift(turn);
    return shown;
  };
  hfdemo.isReplying = () => locked || Boolean(stopButton());
  hfdemo.setBox = (text) => {
    area().value = text;
    area().dispatchEvent(new Event("input", { bubbles: true }));
  };
  // What changes the box waits for an input method that is in the middle of a letter, which would come apart.
  let isComposing = false;
  const changes = []; // that wait
  const changeBox = (change) => {
    if (isComposing) { changes.push(change); return; }
    const typed = area().value;
    const changed = change(typed);
    if (changed !== typed) hfdemo.setBox(changed);
  };
  document.addEventListener("compositionstart", ({ target }) => { isComposing = target === area(); }, true);
  document.addEventListener("compositionend", () => {
    isComposing = false;
    setTimeout(() => { if (!isComposing) changes.splice(0).forEach(changeBox); }); // when the letter is there
  }, true);
  // The turn whose reply comes or was cut off before its end; null if the last reply is whole.
  hfdemo.openTurn = (conversation = hfdemo.conversation) => {
    const last = hfdemo.path(conversation).at(-1);
    if (!last || last.receipt) return null;
    return last.role === "user" ? last.id : last.parent;
  };

  // The conversation has changed: it is kept, what was sent leaves the box, and what comes back goes before what is
  // being typed there.
  hfdemo.keep = (conversation) => {
    const { draft, ...data } = conversation ?? EMPTY;
    const begins = data.turns.length && !hfdemo.conversation.turns.length;
    hfdemo.conversation = data;
    if (sent && hfdemo.path().length > sent.turns) {
      const { text } = sent;
      changeBox((typed) => typed.startsWith(text) ? typed.slice(text.length) : typed);
      sent = null;
    }
    if (draft) changeBox((typed) => typed.startsWith(draft) ? typed : [draft, typed].filter(Boolean).join("\n\n"));
    if (draft || begins) hfdemo.focusBox();
    hfdemo.keepSoon();
  };

  // A double click on Send is one: Stop takes its place, and nobody has seen anything to stop yet.
  const ONE_CLICK_MS = 500; // what systems take for a double click
  let sentByClickAt = -Infinity;
  document.addEventListener("click", (event) => {
    if (!event.isTrusted || !event.target.closest) return;
    if (event.target.closest("#message .submit-button")) sentByClickAt = event.timeStamp;
    const isSecond = event.detail > 1 || event.pointerType === "touch"; // taps are not counted everywhere
    const isSoon = event.timeStamp - sentByClickAt < ONE_CLICK_MS;
    if (isSecond && isSoon && event.target.closest("#message .stop-button")) event.stopImmediatePropagation();
  }, true);

  // Stop may overtake a message that is still on its way, however long that takes: it is said until the reply has ended.
  const STOP_AGAIN_MS = 1500;
  let stopping = 0;
  document.addEventListener("click", ({ target }) => {
    if (target.closest?.("#message .stop-button")) stopping ||= setInterval(() => stopButton()?.click(), STOP_AGAIN_MS);
  });

  // One reply comes at a time; the box stays open, and what was sent stays in it until the reply begins.
  hfdemo.lock = () => {
    if (hfdemo.isReplying()) throw new Error("A reply comes already.");
    if (!hfdemo.connected) throw new Error("There is no connection.");
    locked = true;
    hfdemo.sayOverBox("");
    hfdemo.follow();
    hfdemo.focusBox();
    return REPLYING();
  };
  // A reply that came before comes again, also where its first event hasn't heard yet that it has ended.
  hfdemo.lockAgain = () => {
    locked = true;
    return REPLYING();
  };
  // A starter is sent as it is clicked.
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("#transcript button.example")) return;
    if (hfdemo.isReplying()) {
      event.stopImmediatePropagation();
      return;
    }
    locked = true;
    hfdemo.sayOverBox("");
  }, true);
  hfdemo.send = () => {
    const text = area().value;
    if (!text.trim()) throw new Error("There is nothing to send.");
    const box = hfdemo.lock();
    sent = { text, turns: hfdemo.path().length };
    return box;
  };
  // A reply's event has ended, and a message can be sent.
  hfdemo.replyEnded = (conversation) => {
    locked = false;
    clearInterval(stopping);
    stopping = 0;
    hfdemo.keep({ ...conversation, draft: undefined });
    if (sent) { // it was not taken: what was typed behind it is the next message
      const { text } = sent;
      changeBox((typed) => {
        const next = typed.startsWith(text) ? typed.slice(text.length).trimStart() : "";
        return next ? [text, next].join("\n\n") : typed;
      });
    }
    sent = null;
    hfdemo.announceReply();
    waiting.splice(0).forEach((resolve) => resolve());
    hfdemo.focusBox();
    return READY();
  };
  // Ends the reply that comes, and waits until its event has ended: then nothing more of it is drawn.
  hfdemo.stopReply = async (conversation) => {
    while (locked && !stopButton()) await new Promise((resolve) => setTimeout(resolve, 20)); // a starter was just clicked
    const button = stopButton();
    stoppedAt = button && conversation ? conversation.head : null;
    if (!button) return;
    const ended = new Promise((resolve) => waiting.push(resolve));
    button.click();
    await ended;
    while (stopButton()) await new Promise((resolve) => setTimeout(resolve, 20)); // until that is drawn, too
  };
  // Fails if the stop alone has put the message back into the box: then there is nothing more to undo or to retry.
  hfdemo.unlessReverted = (conversation) => {
    if (stoppedAt && !conversation.turns.some((turn) => turn.id === stoppedAt)) throw new Error("Reverted already.");
  };
  // Box, earlier and latest turns, conversation, Continue, meter, shown prompt and settings of an empty chat.
  hfdemo.cleared = () => {
    hfdemo.sayOverBox("");
    hfdemo.keepNow(""); // what is in the box goes on to the new chat
    hfdemo.beginChat();
    const settings = hfdemo.ownSettings();
    hfdemo.keep(EMPTY);
    hfdemo.drawChats();
    hfdemo.focusBox();
    return [READY(), [], [], EMPTY, update({ visible: false }), "", "", ...settings];
  };
  // Saves the path that is shown as a JSON file: what was typed and generated, thoughts, and the receipts' values.
  hfdemo.save = (conversation, systemPrompt) => {
    const messages = hfdemo.path(conversation).map(({ role, content, thought, receipt }) => (
      { role, content, ...(thought && { thought }), ...(receipt && { receipt }) }));
    const file = new Blob([JSON.stringify({ system_prompt: systemPrompt, messages }, null, 2)], { type: "application/json" });
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: "chat.json" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // some browsers read it only later
  };
})();
