"""All exercises, by their ids and in the order of the lessons."""

from vqlearn.course.exercise import Exercise
from vqlearn.course.exercises import (
    autoregressive,
    comparison,
    continuous_and_discrete,
    denoiser,
    discrete_family,
    forward_process,
    images_as_tokens,
    improved_vq_diffusion,
    ithq,
    objective_and_training,
    parallel_decoding,
    posterior,
    sampling,
    tour,
)

LESSONS = (
    tour,
    images_as_tokens,
    forward_process,
    posterior,
    denoiser,
    objective_and_training,
    sampling,
    discrete_family,
    continuous_and_discrete,
    autoregressive,
    parallel_decoding,
    comparison,
    improved_vq_diffusion,
    ithq,
)

EXERCISES: dict[str, Exercise] = {
    exercise.id: exercise for lesson in LESSONS for exercise in lesson.EXERCISES
}
