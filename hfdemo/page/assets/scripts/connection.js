// The server may go away and come back: the page stays as it is, and goes on.
(() => {
  const { hfdemo } = window;
  const FIRST_WAIT_MS = 500;
  const LONGEST_WAIT_MS = 4000;
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const fetchBefore = window.fetch.bind(window);
  let gaveUp = false; // Gradio has, and sends nothing any more
  hfdemo.connected = true;

  const answers = async () => { // 401 is an answer, too: it wants a sign-in
    try {
      const response = await fetchBefore("gradio_api/app_id", { cache: "no-store", signal: AbortSignal.timeout?.(4000) });
      return response.ok || response.status === 401;
    } catch { return false; }
  };
  // Whether the server still serves the page that is open; else it has another version of it, or wants a sign-in.
  const isSame = async () => {
    try { return (await (await fetchBefore("./", { cache: "no-store" })).text()).includes(hfdemo.given.version); } catch { return true; }
  };
  // Asks for the reply that came meanwhile, or shows what there is of it.
  hfdemo.resume = () => { if (hfdemo.openTurn()) document.querySelector("#resume")?.click(); };

  const lost = async () => {
    if (!hfdemo.connected) return;
    hfdemo.connected = false;
    document.documentElement.style.setProperty("--state-dot", "#d97706");
    hfdemo.sayOverBox(hfdemo.say("lost"), "connection");
    hfdemo.keepNow();
    for (let wait = FIRST_WAIT_MS; !(await answers()); wait = Math.min(2 * wait, LONGEST_WAIT_MS)) await sleep(wait);
    if (gaveUp || !(await isSame())) {
      hfdemo.keepNow();
      location.reload();
      return;
    }
    hfdemo.connected = true;
    document.documentElement.style.removeProperty("--state-dot");
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
  // Shows what to do where the chat can't be opened at all; browsers have it on secure addresses only.
  navigator.serviceWorker?.register("service-worker.js").catch(() => undefined);

  // When a connection breaks, Gradio sends nothing any more until it has loaded the page anew (6.31). So it doesn't hear
  // of it: its events end with an error, as if the server had said so.
  const BROKEN = "Connection errored out. ";
  const LAST_WORDS = [{ msg: "unexpected_error", message: BROKEN, success: false }, { msg: "close_stream" }]
    .map((message) => `data: ${JSON.stringify(message)}\n\n`).join("");
  const endWell = (body, signal) => {
    const reader = body.getReader();
    let end = ""; // of what came
    const bytes = new TextEncoder();
    const text = new TextDecoder();
    return new ReadableStream({
      async pull(controller) {
        let part = { done: true };
        try { part = await reader.read(); } catch { /* it is broken: as if it had ended */ }
        if (!part.done) {
          end = (end + text.decode(part.value, { stream: true })).slice(-200);
          controller.enqueue(part.value);
          return;
        }
        if (!signal?.aborted && !end.includes('"close_stream"')) {
          controller.enqueue(bytes.encode(`\n\n${LAST_WORDS}`)); // behind a line that may have been torn
          lost();
        }
        controller.close();
      },
      cancel: (reason) => reader.cancel(reason),
    });
  };
  window.fetch = async (input, init) => {
    const url = String(input.url ?? input);
    const isStream = /\/queue\/data\b/.test(url);
    if (!isStream && !/\/(queue\/join|run\/)/.test(url)) return fetchBefore(input, init);
    try {
      const response = await fetchBefore(input, init);
      return isStream && response.ok && response.body ? new Response(endWell(response.body, init?.signal), response) : response;
    } catch (error) {
      if (init?.signal?.aborted) throw error;
      lost();
      if (isStream) return new Response(LAST_WORDS, { headers: { "content-type": "text/event-stream" } });
      return new Response(JSON.stringify({ detail: BROKEN }), { status: 500, headers: { "content-type": "application/json" } });
    }
  };
  const setIntervalBefore = window.setInterval.bind(window);
  window.setInterval = (callback, ...rest) => {
    if (!/\.reconnect\(\)/.test(callback)) return setIntervalBefore(callback, ...rest);
    gaveUp = true;
    lost();
    return 0;
  };
})();
