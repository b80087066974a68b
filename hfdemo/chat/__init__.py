"""Pure: messages, options, turns, prompt, reply format. No model, no page, no torch."""
