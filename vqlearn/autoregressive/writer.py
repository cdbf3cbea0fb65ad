"""What the networks have in common that write tokens after something given.

They read a start vector, then the tokens. After each input they give the next distribution:

    given   start   x_1   x_2   …   x_{n-1}
              |      |     |           |
             x_1    x_2   x_3         x_n

What is given is a caption for `transformer.RasterTransformer`, and a noisy row with a caption for
`imagebart_scale.Scale`.
"""

from dataclasses import asdict
from typing import Any

import torch
from einops import repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.probability.checks import check_multiple, check_range, check_sequences, check_sizes

Text = Float[Tensor, "_ l c"] | None
"""Text states: one caption for each row, or one for all; None without text."""

Scores = Float[Tensor, "b n k"]


def check_config(config: Any) -> None:
    """Refuse sizes that no writer can have; without text its width is None and its length 0.

    Raises `ValueError` with the name and the value of the first that is wrong.
    """
    of_text = ("text_width", "text_length") if config.text_width is None else ()
    sizes = {name: value for name, value in asdict(config).items() if name not in of_text}
    check_sizes(sizes, num_codes=2)
    if config.text_width is None and config.text_length != 0:
        raise ValueError(f"text_length is {config.text_length!r}; without text it must be 0")
    check_multiple(config, "width", "num_heads")


class TokenWriter(nn.Module):
    """Which token comes next, after what was given and all tokens before?

    A subclass makes the embeddings, and says how it begins with what is given and reads on from
    there: many inputs in one call, for a likelihood, or one input in each (`cache.CachedDecoder`).
    """

    config: Any
    token_embedding: nn.Embedding
    start_embedding: nn.Embedding

    def begin(self, count: int, given: Tensor | None) -> Any:
        """Read what is given for `count` rows; returns the memory that `read` asks for."""
        raise NotImplementedError

    def read(self, inputs: Float[Tensor, "b n d"], first: int, memory: Any) -> Scores:
        """The scores of n positions, from `first` on; the memory holds what was read, and grows."""
        raise NotImplementedError

    def embed(self, x: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The vectors of the tokens of a row, without their positions.

        Raises `ValueError` for rows of another length, and (on the CPU only: a GPU would have to
        wait) for tokens outside 0..K - 1.
        """
        check_sequences("x", x, self.config.num_positions, self.config.num_codes)
        return self.token_embedding(x)

    def embed_tokens(self, x: Int[Tensor, "b m"]) -> Float[Tensor, "b m d"]:
        """The same for a part of a row."""
        if x.device.type == "cpu" and x.numel() > 0:
            check_range("tokens", x, 0, self.config.num_codes - 1)
        return self.token_embedding(x)

    def start(self, count: int) -> Float[Tensor, "count 1 d"]:
        """What stands before the first token, once for each row."""
        return repeat(self.start_embedding.weight, "1 d -> count 1 d", count=count)

    def from_embedding(self, h: Float[Tensor, "b n d"], given: Tensor | None = None) -> Scores:
        """From the vectors of all tokens to scores; position i does not depend on h[:, i:].

        Raises as `begin` does.
        """
        inputs = torch.cat([self.start(len(h)), h[:, :-1]], dim=1)  # one position to the right
        return self.read(inputs, 0, self.begin(len(h), given))

    def make_text_embedding(self) -> None:
        """A linear map for text states and a vector for each of their positions, if any."""
        if self.config.text_width is not None:
            self.text_to_width = nn.Linear(self.config.text_width, self.config.width)
            self.text_position_embedding = nn.Embedding(self.config.text_length, self.config.width)

    def embed_text(self, count: int, text: Text) -> Float[Tensor, "count l d"]:
        """The vectors of the text states for `count` rows; l is 0 without text.

        Raises `ValueError` for text of another size, missing, or not wanted.
        """
        size = (self.config.text_length, self.config.text_width)
        allowed = (None,) if size[1] is None else ((count, *size), (1, *size))
        seen = None if text is None else tuple(text.shape)
        if seen not in allowed:
            raise ValueError(f"text is {seen}; allowed: {allowed}")
        if text is None:
            return self.start(count)[:, :0]  # (count, 0, d)
        x = self.text_to_width(text) + self.text_position_embedding.weight  # (b, l, d) + (l, d)
        return x.expand(count, -1, -1)
