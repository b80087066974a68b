// What the header's buttons do in the browser: the theme, the settings beside the chat, notices that are closed.
(() => {
  const THEME = "hfdemo_theme";
  const THEMES = ["system", "light", "dark"];
  const SETTINGS = "hfdemo_settings";
  const { hfdemo } = window;
  const kept = hfdemo.storage("localStorage");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  let theme = THEMES.find((each) => each === kept?.getItem(THEME)) ?? "system";
  const draw = () => {
    const dark = theme === "dark" || (theme === "system" && prefersDark.matches);
    if (document.body && document.body.classList.contains("dark") !== dark) document.body.classList.toggle("dark", dark);
  };
  prefersDark.addEventListener("change", draw);
  document.addEventListener("DOMContentLoaded", () => {
    draw();
    new MutationObserver(draw).observe(document.body, { attributeFilter: ["class"] }); // Gradio knows the system's only
  });
  hfdemo.changeTheme = () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    hfdemo.write(kept, THEME, theme);
    draw();
    hfdemo.sayBriefly(hfdemo.say(`theme_${theme}`));
  };
  const panel = () => document.querySelector("#settings");
  const toggle = () => document.querySelector("#settings .toggle-button");
  const isOpen = () => panel().classList.contains("open");
  let asked = false; // by a click or a key, and not by the page
  // Closed settings are only out of sight: the Tab key doesn't go there either. The focus goes in and out with them.
  const followPanel = () => {
    const hadFocus = panel().contains(document.activeElement);
    panel().inert = !isOpen();
    if (isOpen() && asked) document.querySelector("#close-settings").focus();
    if (!isOpen() && hadFocus) document.querySelector("#open-settings").focus();
    asked = false;
  };
  hfdemo.toggleSettings = () => {
    asked = true;
    hfdemo.write(kept, SETTINGS, isOpen() ? "" : "open");
    hfdemo.drawChats();
    toggle()?.click();
  };
  // Whether the settings are open at first: as they were left, where there is room for them beside the chat.
  hfdemo.opensSettings = () => {
    followPanel();
    new MutationObserver(followPanel).observe(panel(), { attributeFilter: ["class"] });
    return innerWidth > 1100 && kept?.getItem(SETTINGS) === "open";
  };
  hfdemo.pickModel = () => {
    if (!isOpen()) hfdemo.toggleSettings();
    setTimeout(() => document.querySelector("#model input")?.focus(), 300); // when it has slid in
  };
  document.addEventListener("click", (event) => { if (event.target.closest?.("#status .stage")) hfdemo.pickModel(); });

  // What is told of the model is read once: it can be closed, and stays so in this browser.
  const CLOSED = "hfdemo_closed_notices";
  const MOST_CLOSED = 20;
  const readClosed = () => { try { return JSON.parse(kept?.getItem(CLOSED) ?? "[]"); } catch { return []; } };
  const closed = new Set([readClosed()].flat());
  const button = (textContent, name, onClick) => {
    const made = Object.assign(document.createElement("button"), { type: "button", textContent, title: hfdemo.say(name) });
    made.setAttribute("aria-label", made.title);
    made.addEventListener("click", onClick);
    return made;
  };
  // It is one line; what doesn't fit in has a button that shows the rest.
  const isShort = (notice) => {
    notice.classList.remove("short");
    return notice.scrollWidth <= notice.clientWidth;
  };
  const sizes = new ResizeObserver((changes) => changes.forEach(({ target }) => {
    if (!target.matches(".whole")) target.classList.toggle("short", isShort(target));
  }));
  const closeable = (notice) => {
    if (notice.querySelector("button")) return;
    const text = notice.textContent;
    notice.hidden = closed.has(text);
    const open = button("⌄", "show_all", () => open.setAttribute("aria-expanded", notice.classList.toggle("whole")));
    open.className = "open-notice";
    open.setAttribute("aria-expanded", "false");
    notice.append(open, button("×", "close", () => {
      closed.add(text);
      notice.hidden = true;
      hfdemo.write(kept, CLOSED, JSON.stringify([...closed].slice(-MOST_CLOSED)));
      document.querySelector("#status .stage")?.focus();
    }));
    sizes.observe(notice, { box: "border-box" });
  };
  new MutationObserver(() => document.querySelectorAll("#status .notice").forEach(closeable))
    .observe(document, { subtree: true, childList: true });
})();
