"""How much of a prompt is read at once."""

LEAST_TOKENS = 32
MOST_TOKENS = 1 << 16


class PieceSize:
    """As many tokens as this machine reads with this model in about the time that is allowed.

    It is a power of two, and changes only when a piece takes less than half of the time or more than twice of it. So
    the same prompt is nearly always read in the same pieces, and rounded in the same way.

    Args:
        tokens: to begin with.
        seconds: how long reading a piece may take.
    """

    def __init__(self, tokens: int, seconds: float) -> None:
        self.tokens = tokens
        self._seconds = seconds

    def took(self, tokens: int, seconds: float) -> None:
        """Learn how long a piece took."""
        if seconds > 2 * self._seconds:
            self.tokens = max(LEAST_TOKENS, self.tokens // 2)
        elif tokens == self.tokens and seconds < self._seconds / 2:
            self.tokens = min(MOST_TOKENS, 2 * self.tokens)
