// The transcript follows the reply until the reader scrolls up; then a button leads to the end.
(() => {
  const { hfdemo } = window;
  const NEAR_PX = 48;
  let follows = true;
  const scroller = () => document.querySelector("#transcript .bubble-wrap");
  const distance = (element) => element.scrollHeight - element.scrollTop - element.clientHeight;
  const draw = () => {
    const element = scroller();
    if (!element) return;
    let button = document.querySelector("#to-end");
    if (!button) {
      button = Object.assign(document.createElement("button"), { id: "to-end", textContent: "↓", title: hfdemo.say("to_end") });
      button.setAttribute("aria-label", button.title);
      button.addEventListener("click", hfdemo.follow);
    }
    if (!button.isConnected) document.querySelector("#transcript").append(button);
    button.hidden = follows || distance(element) < NEAR_PX;
  };
  const toEnd = () => {
    const element = scroller();
    if (element && follows) element.scrollTop = element.scrollHeight;
    draw();
  };
  hfdemo.follow = () => { follows = true; toEnd(); };
  const detach = (event) => { if (event.target.closest?.("#transcript")) follows = false; };
  document.addEventListener("wheel", (event) => { if (event.deltaY < 0) detach(event); }, { passive: true, capture: true });
  document.addEventListener("touchmove", detach, { passive: true, capture: true });
  document.addEventListener("keydown", (event) => { if (["PageUp", "ArrowUp", "Home"].includes(event.key)) detach(event); }, true);
  document.addEventListener("pointerdown", (event) => { if (event.target === scroller()) follows = false; }, true); // its scroll bar
  document.addEventListener("scroll", (event) => {
    if (event.target !== scroller()) return;
    if (distance(event.target) < NEAR_PX) follows = true;
    draw();
  }, true);
  let asked = 0;
  const soon = () => { asked ||= requestAnimationFrame(() => { asked = 0; toEnd(); }); };
  const isInTranscript = ({ target }) => (target.closest ? target : target.parentElement)?.closest("#transcript");
  new MutationObserver((changes) => { if (changes.some(isInTranscript)) soon(); })
    .observe(document, { subtree: true, childList: true, characterData: true });
  addEventListener("resize", soon);
})();
