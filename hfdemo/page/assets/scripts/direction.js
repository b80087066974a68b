// Arabic, Hebrew and their like are read from right to left: where there is some, each paragraph begins on the side of its
// own first letter. Else the browser isn't asked to look: of a long paragraph that takes it seconds (Chromium 150).
(() => {
  const { hfdemo } = window;
  const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;
  let isKnown = false;
  hfdemo.lookForDirection = ({ turns }, draft) => {
    if (isKnown || ![draft, ...turns.map(({ content }) => content)].some((text) => RIGHT_TO_LEFT.test(text))) return;
    isKnown = true;
    document.documentElement.style.setProperty("--bidi", "plaintext");
  };
})();
