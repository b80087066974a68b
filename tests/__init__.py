"""The tests of all kinds."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
