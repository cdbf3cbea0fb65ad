"""Was a vocabulary learnt from captions of scenes? Then the model is one of scenes."""

from transformers import CLIPTokenizer

from vqlearn.data import Scenes
from vqlearn.data.scenes.drawing import MIN_IMAGE_SIZE
from vqlearn.probability.checks import shown
from vqlearn.text.tokenizer import END_OF_WORD


def check_scene_words(tokenizer: CLIPTokenizer) -> None:
    """Raise `ValueError` unless this vocabulary was learnt from captions of scenes and no others.

    Then each of their words is one piece, and every piece is a part of one of their words. Who has
    another vocabulary has learned from other captions, and so from other images.
    """
    captions = " ".join(Scenes(MIN_IMAGE_SIZE, "seen").captions())
    words = {f"{word}{END_OF_WORD}" for word in captions.split()}
    pieces = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
    learnt = {piece for piece in pieces if len(piece.removesuffix(END_OF_WORD)) > 1}
    unknown = sorted(words - pieces)
    foreign = sorted(piece for piece in learnt if not any(piece in word for word in words))
    if unknown or foreign:
        seen = f"lacks {shown(unknown[0])}" if unknown else f"holds {shown(foreign[0])}"
        raise ValueError(
            f"the model was not trained on scenes: its vocabulary {seen}; "
            "allowed: a model of scenes, or --data FOLDER to measure it on images like its own"
        )
