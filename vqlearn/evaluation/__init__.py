"""How good is a model? Prompt accuracy, the scene reader, entropies and counting baselines."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    caption_entropy="CaptionBits CaptionDistribution",
    counting="grid_bits ngram_bits rgb_bits",
    edits="EditScores evaluate_edits token_reach",
    frontier="measure_rules",
    frontier_rules="FrontierRule",
    image_entropy="image_bits",
    own_images="evaluate_images evaluated_images ImageScores score_images",
    prompts="evaluate evaluate_model evaluated_scenes Evaluation Score",
    scene_reader="Accuracy agrees prompt_accuracy read Share",
)
