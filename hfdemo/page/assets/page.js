// Runs before Gradio: the visitor's language, and clean copies of what is displayed.
(() => {
  const CHAT = "hfdemo_chat";
  const LANGUAGE = "hfdemo_language";
  const storage = (name) => { try { return window[name]; } catch { return null; } }; // refused in some frames
  const chosen = storage("localStorage")?.getItem(LANGUAGE);
  const language = chosen || (navigator.language.toLowerCase().startsWith("ko") ? "ko" : "en");
  if (chosen) { // Gradio picks its words by the browser's language
    Object.defineProperty(navigator, "language", { get: () => chosen });
    Object.defineProperty(navigator, "languages", { get: () => [chosen] });
  }
  document.documentElement.lang = language;

  window.hfdemo = {
    // The page has opened: returns the language, the settings' sidebar (open where there is room) and the chat.
    open() {
      const kept = storage("sessionStorage")?.getItem(CHAT);
      storage("sessionStorage")?.removeItem(CHAT);
      return [language, { open: window.innerWidth > 1100, __type__: "update" }, kept ? JSON.parse(kept) : []];
    },
    // Labels change when the page loads, so the chat is kept over the load.
    changeLanguage(next, chat) {
      storage("localStorage")?.setItem(LANGUAGE, next);
      storage("sessionStorage")?.setItem(CHAT, JSON.stringify(chat));
      location.reload();
    },
  };

  // The server marks what would be HTML with U+2060 (see page/markdown.py); no copy has the marks. "Copy message"
  // takes a reply with its boxes, whose texts stand between U+2061 (see page/transcript.py); the boxes stay behind.
  const restore = (text) => text.replace(/\u2060+/g, (run) => "\u2060".repeat(run.length >> 1));
  const clipboard = navigator.clipboard;
  if (clipboard) {
    const write = clipboard.writeText.bind(clipboard);
    clipboard.writeText = (text) => write(restore(text.replace(/\s*\u2061[^\u2061]*\u2061\s*/g, "")));
  }
  document.addEventListener("copy", (event) => {
    if (/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
    const selected = String(document.getSelection());
    if (!selected.includes("\u2060")) return;
    event.clipboardData.setData("text/plain", restore(selected));
    event.preventDefault();
  });
})();
