// The server may go away and come back: the page stays as it is, and goes on.
(() => {
  const { hfdemo } = window;
  const FIRST_WAIT_MS = 500;
  const LONGEST_WAIT_MS = 4000;
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const fetchBefore = window.fetch.bind(window);
  let gaveUp = false; // Gradio has, and sends nothing any more
  const streams = new Set(); // that are read
  let breaks = 0; // of streams
  hfdemo.connected = true;

  const WANTS_SIGN_IN = 401;
  // Returns which start of the server answers, by the number that Gradio draws for each; null if none does.
  const whoAnswers = async () => {
    try {
      const response = await fetchBefore("gradio_api/app_id", { cache: "no-store", signal: AbortSignal.timeout?.(4000) });
      if (response.status === WANTS_SIGN_IN) return WANTS_SIGN_IN;
      return response.ok ? (await response.json()).app_id ?? null : null;
    } catch { return null; }
  };
  // Whether that start still serves the page that is open; else it has another version of it, or wants a sign-in.
  const same = new Set(); // starts that do
  const isSame = async (start) => {
    if (same.has(start)) return true;
    try {
      const page = await (await fetchBefore("./", { cache: "no-store" })).text();
      if (page.includes(hfdemo.given.version)) same.add(start);
      return same.has(start);
    } catch { return true; }
  };
  const loadAgain = () => {
    hfdemo.connected = false;
    hfdemo.keepNow();
    location.reload();
  };
  // Asks for the reply that came meanwhile, or shows what there is of it.
  hfdemo.resume = () => { if (hfdemo.openTurn()) document.querySelector("#resume")?.click(); };

  const lost = async () => {
    if (!hfdemo.connected) return;
    hfdemo.connected = false;
    for (const reader of streams) reader.cancel().catch(() => undefined); // one may be silent, and never break
    document.documentElement.style.setProperty("--state-dot", "#d97706");
    hfdemo.sayOverBox(hfdemo.say("lost"), "connection");
    hfdemo.keepNow();
    let start = null;
    for (let wait = FIRST_WAIT_MS; start === null; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
      await sleep(wait); // meanwhile the events that it cut off end
      start = await whoAnswers();
    }
    if (gaveUp || !(await isSame(start))) {
      loadAgain();
      return;
    }
    hfdemo.connected = true;
    document.documentElement.style.removeProperty("--state-dot");
    hfdemo.sayOverBox("", "connection");
    hfdemo.resume();
  };
  hfdemo.checkConnection = async () => { if ((await whoAnswers()) === null) lost(); };
  // Fails if the server doesn't answer, or serves this page no more.
  hfdemo.ping = async () => {
    if (!hfdemo.connected) throw new Error("There is no connection.");
    const start = await whoAnswers();
    if (start === null) {
      lost();
      throw new Error("The server does not answer.");
    }
    if (!same.size) same.add(start); // the page has just come from it
    if (await isSame(start)) return;
    loadAgain();
    throw new Error("The page is loaded again.");
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
    streams.add(reader);
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
        streams.delete(reader);
        if (!signal?.aborted && !end.includes('"close_stream"')) {
          breaks += 1;
          controller.enqueue(bytes.encode(`\n\n${LAST_WORDS}`)); // behind a line that may have been torn
          lost();
        }
        controller.close();
      },
      cancel: (reason) => {
        streams.delete(reader);
        return reader.cancel(reason);
      },
    });
  };
  // Gradio's server gives each message of a session to one of its streams, also to one that broke and of which it has not
  // heard yet (6.31). So after a break, this page is in another session, of which nobody else reads.
  const SESSION_IN_ADDRESS = /\bsession_hash=\w+/;
  const SESSION_IN_BODY = /"session_hash":"\w+/; // what somebody typed has its quotes escaped
  const inSession = (text, session) => breaks ? text?.replace(session, `$&_${breaks}`) : text;
  window.fetch = async (input, init) => {
    const url = String(input.url ?? input);
    const isStream = /\/queue\/data\b/.test(url);
    if (!isStream && !/\/(queue\/join|run\/)/.test(url)) return fetchBefore(input, init);
    const headers = new Headers(init?.headers);
    headers.set("accept-language", hfdemo.language); // in which the server refuses
    const asked = { ...init, headers, body: inSession(init?.body, SESSION_IN_BODY) };
    try {
      const response = await fetchBefore(inSession(url, SESSION_IN_ADDRESS), asked);
      return isStream && response.ok && response.body ? new Response(endWell(response.body, init?.signal), response) : response;
    } catch (error) {
      if (init?.signal?.aborted) throw error;
      lost();
      if (isStream) {
        breaks += 1;
        return new Response(LAST_WORDS, { headers: { "content-type": "text/event-stream" } });
      }
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
