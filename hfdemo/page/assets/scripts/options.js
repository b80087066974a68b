// Options follow the model's recommended values, and keep what the visitor chose.
(() => {
  const { hfdemo } = window;
  const { settings, recommended: RECOMMENDED } = hfdemo.given; // by name: the first value, and perhaps its limits
  let defaults = {}; // of the model that answers
  let chosen = {}; // what differs from them
  const first = (name) => defaults[name] ?? settings[name].value;
  const optionOf = (element) => element.closest("[id].block")?.id.replaceAll("-", "_");

  // Another model recommends other values: returns those of the options that nobody has touched, and isn't editing.
  hfdemo.followModel = (recommended, values) => {
    const before = Object.fromEntries(RECOMMENDED.map((name) => [name, first(name)]));
    defaults = { ...recommended };
    const edited = document.activeElement?.closest("input") && optionOf(document.activeElement);
    return RECOMMENDED.map((name, index) =>
      values[index] === before[name] && name !== edited ? first(name) : { __type__: "update" });
  };
  hfdemo.keepSettings = (values) => {
    const named = Object.keys(settings).map((name, index) => [name, values[index]]);
    chosen = Object.fromEntries(named.filter(([name, value]) => value !== first(name)));
    hfdemo.keepSoon();
  };
  hfdemo.chosenSettings = () => chosen;
  const isRight = ({ value, low, high, step, values }, given) => {
    if (values) return values.includes(given);
    if (low === undefined) return typeof given === typeof value;
    return typeof given === "number" && given >= low && given <= high && (step < 1 || Number.isInteger(given));
  };
  // Returns the settings as the visitor left them, or as the address asks for them; what can't be is left out.
  hfdemo.openSettings = (kept, address) => {
    const wrong = [];
    for (const [name, text] of address) {
      const option = name === "system" ? "system_prompt" : name;
      if (!(option in settings)) continue;
      const given = settings[option].low === undefined ? text : text.trim() === "" ? NaN : Number(text);
      if (isRight(settings[option], given)) kept = { ...kept, [option]: given };
      else wrong.push(name);
    }
    if (wrong.length) hfdemo.sayOverBox(hfdemo.say("bad_in_address", { names: wrong.join(", ") }), "address");
    chosen = Object.fromEntries(Object.entries(kept ?? {}).filter(([name, value]) => name in settings && isRight(settings[name], value)));
    return Object.keys(settings).map((name) => chosen[name] ?? { __type__: "update" });
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
