// Settings: options follow the model's recommended values, what the visitor chose is kept, and what a starter or the
// address brings is for this chat only.
(() => {
  const { hfdemo } = window;
  const { settings, recommended: RECOMMENDED, starters } = hfdemo.given; // by name: the first value, and perhaps its limits
  // What else an address has: the question, keys of Gradio, Spaces and their sign-in, and those that links get on their way.
  const isOfOthers = /^(q|_.*|logs|view|code|state|deep_link|utm_.*|fbclid|gclid|ref)$/;
  const AS_IT_IS = { __type__: "update" };
  let defaults = {}; // of the model that answers
  let chosen = {}; // by the visitor: what differed from them
  let lent = {}; // to this chat, in place of what the visitor chose
  const first = (name) => defaults[name] ?? settings[name].value;
  const optionOf = (element) => element.closest("[id].block")?.id.replaceAll("-", "_");

  // Another model recommends other values: returns those of the options that nobody has touched, and isn't editing.
  hfdemo.followModel = (recommended, values) => {
    const before = Object.fromEntries(RECOMMENDED.map((name) => [name, first(name)]));
    defaults = { ...recommended };
    const edited = document.activeElement?.closest("input") && optionOf(document.activeElement);
    return RECOMMENDED.map((name, index) =>
      values[index] === before[name] && name !== edited && !(name in lent) && !(name in chosen) ? first(name) : AS_IT_IS);
  };
  hfdemo.keepSettings = (values) => {
    Object.keys(settings).forEach((name, index) => {
      const value = values[index];
      if (name === "system_prompt" && starters.includes(value)) lent[name] = value;
      if (lent[name] === value) return;
      delete lent[name]; // the visitor has changed it
      if (chosen[name] === value) return; // also where the model that answers isn't known yet, or recommends the same
      if (value === first(name)) delete chosen[name];
      else chosen[name] = value;
    });
    hfdemo.keepSoon();
  };
  hfdemo.keptSettings = () => ({ settings: chosen, lent });
  // A new chat has the visitor's own settings again.
  hfdemo.ownSettings = () => {
    const back = Object.keys(settings).map((name) => name in lent ? chosen[name] ?? first(name) : AS_IT_IS);
    lent = {};
    return back;
  };
  const isRight = ({ value, low, high, step, values }, given) => {
    if (values) return values.includes(given);
    if (low === undefined) return typeof given === typeof value;
    return typeof given === "number" && given >= low && given <= high && (step < 1 || Number.isInteger(given));
  };
  const right = (values) => Object.fromEntries(
    Object.entries(values ?? {}).filter(([name, value]) => name in settings && isRight(settings[name], value)));
  // Returns the settings as the visitor left them, and for this chat as the address asks for them; what can't be is
  // left out.
  hfdemo.openSettings = (kept, address) => {
    const [wrong, unknown] = [[], []];
    chosen = right(kept.settings);
    lent = right(kept.lent);
    for (const [name, text] of address) {
      const option = name === "system" ? "system_prompt" : name;
      if (!Object.hasOwn(settings, option)) {
        if (!isOfOthers.test(name)) unknown.push(name.slice(0, 40));
        continue;
      }
      const given = settings[option].low === undefined ? text : text.trim() === "" ? NaN : Number(text);
      if (isRight(settings[option], given)) lent[option] = given;
      else wrong.push(hfdemo.say(option));
    }
    const told = Object.entries({ bad_in_address: wrong, unknown_in_address: unknown }).filter(([, names]) => names.length);
    if (told.length) hfdemo.sayBriefly(told.map(([text, names]) => hfdemo.say(text, { names: names.join(", ") })).join(" "));
    return Object.keys(settings).map((name) => lent[name] ?? chosen[name] ?? AS_IT_IS);
  };

  // The arrow beside an option goes back to the model's value; Gradio's own one to what was there when it was drawn.
  document.addEventListener("click", (event) => {
    const arrow = event.target.closest?.(".reset-button");
    const name = arrow && optionOf(arrow);
    if (!RECOMMENDED.includes(name)) return;
    event.stopImmediatePropagation();
    const field = arrow.closest("[id].block").querySelector("input[type=number]");
    field.value = first(name);
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }, true);
})();
