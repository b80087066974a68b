// The server may go away and come back: the page stays as it is, and goes on.
(() => {
  const { hfdemo } = window;
  const FIRST_WAIT_MS = 500;
  const LONGEST_WAIT_MS = 4000;
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  hfdemo.connected = true;

  const answers = async () => {
    try { return (await fetch("gradio_api/app_id", { cache: "no-store", signal: AbortSignal.timeout(4000) })).ok; } catch { return false; }
  };
  // Whether the server still serves the page that is open; else it has another version of it, or wants a sign-in.
  const isSame = async () => {
    try { return (await (await fetch("./", { cache: "no-store" })).text()).includes(hfdemo.given.version); } catch { return true; }
  };
  // Asks for the reply that came meanwhile, or shows what there is of it.
  hfdemo.resume = () => { if (hfdemo.openTurn()) document.querySelector("#resume")?.click(); };

  const lost = async () => {
    if (!hfdemo.connected) return;
    hfdemo.connected = false;
    document.documentElement.classList.add("lost");
    hfdemo.sayOverBox(hfdemo.say("lost"), "connection");
    hfdemo.keepNow();
    for (let wait = FIRST_WAIT_MS; !(await answers()); wait = Math.min(2 * wait, LONGEST_WAIT_MS)) await sleep(wait);
    if (!(await isSame())) {
      hfdemo.keepNow();
      location.reload();
      return;
    }
    hfdemo.connected = true;
    document.documentElement.classList.remove("lost");
    hfdemo.sayOverBox("", "connection");
    hfdemo.resume();
  };
  hfdemo.checkConnection = async () => { if (!(await answers())) lost(); };
  // Fails if the server doesn't answer.
  hfdemo.ping = async () => {
    if (!hfdemo.connected) throw new Error("There is no connection.");
    if (await answers()) return;
    lost();
    throw new Error("The server does not answer.");
  };
  addEventListener("offline", lost);

  // Gradio loads the page anew when a connection that broke is back (6.31), and what is on it is lost.
  const setIntervalBefore = window.setInterval.bind(window);
  window.setInterval = (callback, ...rest) => {
    if (!/\.reconnect\(\)/.test(callback)) return setIntervalBefore(callback, ...rest);
    if (hfdemo.connected) lost();
    return 0;
  };
})();
