"""What is said of an error: one line, not too long."""

LONGEST = 400


def one_line(message: str) -> str:
    """The message without line breaks; the middle of a long one is left out."""
    text, half = " ".join(message.split()), LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]}...{text[-half:]}"
