// A phone's keyboard covers the lower part of the page, where the box is: the page is as high as what is left of it.
(() => {
  const LEAST_PX = 80; // less is no keyboard, but a bar of the browser that comes and goes
  const view = window.visualViewport;
  view?.addEventListener("resize", () => {
    const uncovered = Math.round(view.height * view.scale); // also when the page is magnified by two fingers
    const isCovered = innerHeight - uncovered > LEAST_PX;
    document.documentElement.style.setProperty("--uncovered", isCovered ? `${uncovered}px` : "100dvh");
    if (isCovered && view.scale === 1) scrollTo(0, 0); // iOS has moved the page up
  });
})();
