"""The loop that writes tokens, and what it needs: sampling, detokenizer, stream, prefix cache."""
