"""What one stage of a training has said, the next need not say again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("vqlearn")


@contextmanager
def said_once() -> Iterator[None]:
    """Inside `with`, the logger "vqlearn" says each message only once."""
    said = set()

    def is_new(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in said
        said.add(message)
        return new

    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)
