// Copies are what was written, and not what is drawn.
(() => {
  const { hfdemo } = window;
  // Copies of a message have the text as it was written, from the conversation and not from what is drawn.
  const COPY = "#transcript .copy-code, #transcript .message-buttons button[data-copy]";
  const drawnText = (row, part) => row.querySelector(part)?.innerText ?? "";
  const written = (row) => {
    const role = row.matches(".user-row") ? "user" : "assistant";
    const rows = [...document.querySelectorAll(`#transcript .message-row.${row.matches(".user-row") ? "user" : "bot"}-row`)];
    // What is kept of a reply that comes is older than what is drawn.
    const coming = role === "assistant" && hfdemo.isReplying() && row === rows.at(-1);
    const turn = coming ? null : hfdemo.path().filter((each) => each.role === role)[rows.indexOf(row)];
    return turn ? turn.content || turn.thought : drawnText(row, ".message-content:not(.thought-group *)");
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
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.(COPY);
    if (!button) return;
    event.stopImmediatePropagation(); // Gradio would copy what is drawn, and show a tick in any case
    const code = button.closest(".code-box")?.querySelector("code");
    const row = button.closest(".message-row") ?? button.closest(".message-buttons").previousElementSibling;
    const text = code?.textContent ?? (written(row) || drawnText(row, ".message-content")); // the latter is its thought
    const copied = await copy(text);
    hfdemo.sayBriefly(copied ? "" : hfdemo.say("copy_refused"));
    if (!copied) return;
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1500);
  }, true);

  // KaTeX draws a formula twice, for eyes and for screen readers; what is selected of it has it as it was written.
  const selectedFormulas = () => {
    const selection = getSelection(), transcript = document.querySelector("#transcript");
    if (selection.isCollapsed || !transcript || !selection.getRangeAt(0).intersectsNode(transcript)) return null;
    const range = selection.getRangeAt(0).cloneRange();
    if (!transcript.contains(range.startContainer)) range.setStart(transcript, 0);
    if (!transcript.contains(range.endContainer)) range.setEnd(transcript, transcript.childNodes.length);
    const formula = (node) => (node.closest ? node : node.parentElement).closest(".katex");
    if (formula(range.startContainer)) range.setStartBefore(formula(range.startContainer));
    if (formula(range.endContainer)) range.setEndAfter(formula(range.endContainer));
    const part = document.createElement("div");
    part.className = "copied-part";
    part.append(range.cloneContents());
    const drawn = [...part.querySelectorAll(".katex")];
    if (!drawn.length) return null;
    for (const each of drawn) {
      const display = each.closest(".katex-display"), mark = display ? "$$" : "$";
      const source = each.querySelector("annotation").textContent.replaceAll("\\%{}", "%"); // see percent_as_sign
      (display ?? each).replaceWith(mark + source + mark);
    }
    return part;
  };
  const textOf = (part) => { // as the browser makes it of a selection
    document.querySelector("#transcript").append(part);
    for (const each of part.querySelectorAll("*")) if (getComputedStyle(each).userSelect === "none") each.remove();
    const text = part.innerText;
    part.remove();
    return text;
  };
  for (const kind of ["copy", "dragstart"]) document.addEventListener(kind, (event) => {
    const part = kind === "copy" || event.target.nodeType === Node.TEXT_NODE ? selectedFormulas() : null;
    if (!part) return;
    const given = event.clipboardData ?? event.dataTransfer;
    given.setData("text/plain", textOf(part));
    given.setData("text/html", part.innerHTML);
    if (kind === "copy") event.preventDefault();
  });

  hfdemo.copyLastReply = async () => {
    const rows = [...document.querySelectorAll("#transcript .message-row.bot-row")];
    const row = rows.findLast(written); // of one that comes there may be nothing yet
    if (row) hfdemo.sayBriefly(hfdemo.say((await copy(written(row))) ? "copied" : "copy_refused"));
  };
})();
