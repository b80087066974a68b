// The transcript follows the reply until the reader scrolls up; then a button leads to the end.
(() => {
  const { hfdemo } = window;
  const NEAR_PX = 48;
  const OPENED_MS = 500; // Gradio takes less to open a thought or a receipt
  let follows = true;
  let seen = { top: 0, height: 0, room: 0 }; // of the transcript, when it was scrolled or grew last
  let leftAt = Infinity; // where the reader began to scroll up; Infinity once that has moved the transcript
  const scroller = () => document.querySelector("#scroller");
  const distance = (element) => element.scrollHeight - element.scrollTop - element.clientHeight;
  const draw = () => {
    const element = scroller();
    if (!element) return;
    let button = document.querySelector("#to-end");
    if (!button) {
      button = Object.assign(document.createElement("button"), { id: "to-end", textContent: "↓", title: hfdemo.say("to_end") });
      button.setAttribute("aria-label", button.title);
      button.addEventListener("click", () => { hfdemo.focusBox(); hfdemo.follow(); }); // it goes away
      button.addEventListener("wheel", ({ deltaY }) => scroller().scrollBy({ top: deltaY }), { passive: true });
    }
    if (!button.isConnected) document.querySelector("#transcript").append(button);
    for (const each of [element, ...element.children]) sizes.observe(each);
    button.hidden = follows || distance(element) < NEAR_PX;
  };
  const look = ({ scrollTop, scrollHeight, clientHeight }) => { seen = { top: scrollTop, height: scrollHeight, room: clientHeight }; };
  const toEnd = () => {
    const element = scroller();
    if (element && follows) {
      element.scrollTop = element.scrollHeight;
      look(element);
    }
    draw();
  };
  // The height of messages is known only when they have been in view, and the box grows: before that is seen, the end is
  // elsewhere.
  const sizes = new ResizeObserver(toEnd);
  hfdemo.follow = () => { follows = true; toEnd(); };
  const leave = () => {
    if (follows) leftAt = scroller()?.scrollTop ?? Infinity;
    follows = false;
  };
  // Up, and not because there is less: the Tab key, a search in the page or a screen reader led the reader there.
  const wentUp = ({ scrollTop, scrollHeight, clientHeight }) =>
    scrollTop < seen.top - 2 && scrollHeight >= seen.height && clientHeight <= seen.room;
  const detach = (event) => { if (event.target.closest?.("#transcript")) leave(); };
  document.addEventListener("wheel", (event) => { if (event.deltaY < 0) detach(event); }, { passive: true, capture: true });
  document.addEventListener("touchmove", detach, { passive: true, capture: true });
  document.addEventListener("keydown", (event) => { if (["PageUp", "ArrowUp", "Home"].includes(event.key)) detach(event); }, true);
  // What is opened is read from its beginning; a short one at the end is shown whole.
  document.addEventListener("click", (event) => {
    const opened = event.target.closest?.("#transcript .thought-group > .title")?.parentElement;
    if (!opened || !event.isTrusted) return; // or it was set right; see folds.js
    const element = scroller();
    leave();
    element.style.overflowAnchor = "none"; // the browser may keep what is below in its place
    setTimeout(() => {
      element.style.overflowAnchor = "";
      if (opened.offsetHeight < element.clientHeight) opened.scrollIntoView({ block: "nearest" });
      if (distance(element) < NEAR_PX) hfdemo.follow();
    }, OPENED_MS);
  }, true);
  document.addEventListener("pointerdown", (event) => { if (event.target === scroller()) leave(); }, true); // its scroll bar
  document.addEventListener("scroll", (event) => {
    if (event.target !== scroller()) return;
    if (isShown && follows && wentUp(event.target) && distance(event.target) > NEAR_PX) follows = false;
    look(event.target);
    if (event.target.scrollTop < leftAt) leftAt = Infinity;
    // What tells of our own last scrolling may come behind the reader's turn of the wheel.
    if (distance(event.target) < NEAR_PX && leftAt === Infinity) follows = true;
    draw();
  }, true);
  // At first the transcript is out of sight: until what was kept is drawn, and its end reached, as the height of what is
  // there is known only when it has been in view. So nothing moves before the reader's eyes.
  const STILL_FRAMES = 3;
  const LONGEST_WAIT_MS = 10_000;
  let longest = 0;
  let isShown = false;
  let isWaiting = false;
  const show = () => {
    isShown = true;
    document.documentElement.style.setProperty("--transcript", "visible");
  };
  const showWhenStill = (height, frames = 0) => {
    if (isShown) return;
    toEnd();
    const { scrollHeight } = scroller();
    if (frames === STILL_FRAMES) show();
    else requestAnimationFrame(() => showWhenStill(scrollHeight, scrollHeight === height ? frames + 1 : 0));
  };
  const showWhenDrawn = () => {
    const drawn = hfdemo.path().length ? "#transcript .message-row" : "#transcript button.example";
    if (isShown || isWaiting || !document.querySelector(drawn)) return;
    longest ||= setTimeout(show, LONGEST_WAIT_MS); // the server may have gone away
    isWaiting = Boolean(document.querySelector("#status .stage")); // notices take room from it, too
    if (isWaiting) showWhenStill();
  };
  let asked = 0;
  const soon = () => { asked ||= requestAnimationFrame(() => { asked = 0; toEnd(); showWhenDrawn(); }); };
  const concerns = ({ target }) => (target.closest ? target : target.parentElement)?.closest("#transcript, #status");
  // Which part has messages, as classes: `:has()` in the style sheet is looked at anew for each piece of a reply.
  const mark = () => {
    for (const name of ["earlier", "latest"]) {
      scroller()?.classList.toggle(`has-${name}`, Boolean(document.querySelector(`#${name} .message-row`)));
    }
  };
  new MutationObserver((changes) => {
    if (!changes.some(concerns)) return;
    mark();
    soon();
  })
    .observe(document, { subtree: true, childList: true, characterData: true });
  addEventListener("resize", soon);
})();
