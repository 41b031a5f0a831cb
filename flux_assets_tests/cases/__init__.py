"""Small inputs that tests read."""

from pathlib import Path

CASE_FILES = Path(__file__).parent
CORPUS = CASE_FILES.parent / "corpus"
