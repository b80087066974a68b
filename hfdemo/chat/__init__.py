"""Messages, options, turns, prompt, reply format: what a chat is. No model, no page, no torch."""
