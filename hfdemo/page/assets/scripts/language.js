// The visitor's language, in which Gradio's own words are picked, too. Runs first.
(() => {
  const LANGUAGE = "hfdemo_language";
  const { hfdemo } = window;
  const { languages } = hfdemo.given;
  // Some frames and settings refuse to keep anything: then Gradio, which doesn't expect that, gets a place that is gone
  // with the page.
  const inMemory = () => {
    const kept = new Map();
    return {
      getItem: (key) => kept.get(key) ?? null,
      setItem: (key, value) => { kept.set(key, String(value)); },
      removeItem: (key) => { kept.delete(key); },
      clear: () => kept.clear(),
      key: (index) => [...kept.keys()][index] ?? null,
      get length() { return kept.size; },
    };
  };
  const open = (name) => {
    try { return window[name]; } catch {
      try { Object.defineProperty(window, name, { value: inMemory() }); } catch { /* Gradio has to do without */ }
      return null;
    }
  };
  const storages = { localStorage: open("localStorage"), sessionStorage: open("sessionStorage") };
  hfdemo.storage = (name) => storages[name]; // null where it is refused
  // Keeps something; returns whether that worked: it doesn't where there is no more room, or none at all.
  hfdemo.write = (storage, key, text) => { try { storage.setItem(key, text); return true; } catch { return false; } };
  const keepers = Object.values(storages).filter(Boolean); // the tab's where there is no room in the lasting one
  const chosen = keepers.map((storage) => storage.getItem(LANGUAGE)).find((each) => languages.includes(each));
  const preferred = navigator.language.toLowerCase().split("-")[0];
  hfdemo.language = chosen || (languages.includes(preferred) ? preferred : languages[0]);
  if (chosen) { // Gradio picks its words by the browser's language
    Object.defineProperty(navigator, "language", { get: () => chosen });
    Object.defineProperty(navigator, "languages", { get: () => [chosen] });
  }
  document.documentElement.lang = hfdemo.language;
  hfdemo.say = (name, values = {}) =>
    Object.entries(values).reduce((text, [key, value]) => text.replaceAll(`{${key}}`, () => value), hfdemo.given.words[hfdemo.language][name]);

  // Labels change when the page loads; what is open is kept over the load.
  hfdemo.changeLanguage = (next) => {
    hfdemo.keepNow();
    if (keepers.some((storage) => hfdemo.write(storage, LANGUAGE, next))) location.reload();
    else hfdemo.sayOverBox(hfdemo.say("not_kept"), "kept"); // a page that is loaded would know of nothing
  };
})();
