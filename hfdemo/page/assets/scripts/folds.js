// A thought or a receipt stays as its reader left it. Gradio makes a reply's folds anew, folded, when the next question
// comes, and gives what was opened to the folds that take their place.
(() => {
  const { hfdemo } = window;
  const AGAIN = "#latest .message-buttons button:not([data-copy])";
  const opened = new Set(); // by the reader: the question's turn, and which fold after it
  const folds = () => {
    const questions = hfdemo.path().filter(({ role }) => role === "user");
    const found = [];
    let asked = -1;
    let place = 0;
    for (const element of document.querySelectorAll("#scroller :is(.user-row, .thought-group > .title)")) {
      if (element.matches(".title")) found.push({ title: element, key: `${questions[asked]?.id} ${place++}` });
      else [asked, place] = [asked + 1, 0];
    }
    return found;
  };
  const isOpen = (title) => title.classList.contains("expanded");
  const isComing = (title) => Boolean(title.querySelector(".loading-spinner")); // Gradio opens and folds it itself
  const setRight = () => {
    for (const { title, key } of folds()) if (!isComing(title) && isOpen(title) !== opened.has(key)) title.click();
  };
  let asked = 0;
  const soon = () => { asked ||= requestAnimationFrame(() => { asked = 0; setRight(); }); };
  document.addEventListener("click", (event) => {
    if (!event.isTrusted) return;
    const title = event.target.closest?.("#scroller .thought-group > .title");
    if (title && !isComing(title)) {
      const { key } = folds().find((fold) => fold.title === title);
      if (isOpen(title)) opened.delete(key);
      else opened.add(key);
    }
    if (event.target.closest?.(AGAIN)) { // the reply goes, its question may stay
      const last = hfdemo.path().findLast(({ role }) => role === "user");
      for (const key of opened) if (key.startsWith(`${last?.id} `)) opened.delete(key);
    }
  }, true);
  new MutationObserver((changes) => {
    if (changes.some(({ target }) => target.closest?.("#scroller"))) soon();
  }).observe(document, { subtree: true, childList: true });
})();
