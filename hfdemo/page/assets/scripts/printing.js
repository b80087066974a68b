// On paper stands the whole chat, and nothing that is there to be clicked. Rules for the page's outermost parts have no
// effect in `page.css`, which Gradio puts below them.
(() => {
  const ALL_AROUND = "html, body, gradio-app, .gradio-container, .main, .wrap.app, .wrap:has(> main), main, main > .column, main > .column > .column, #transcript, #scroller";
  const CLICKED = "#header, #message, #under-box, #shown-prompt, #settings, #line-over-box, #to-end, #transcript .message-buttons";
  const rules = `
    ${ALL_AROUND} { display: block !important; height: auto !important; max-height: none !important; overflow: visible !important; }
    #transcript * { content-visibility: visible !important; }
    :is(${CLICKED}), :has(> #message) { display: none !important; }`;
  document.addEventListener("DOMContentLoaded", () => {
    document.head.append(Object.assign(document.createElement("style"), { media: "print", textContent: rules }));
  });
})();
