"""The course: exercises, a grader that names the mistake, and assignments of your own."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    assigning="assign",
    catalogue="EXERCISES",
    checking="check",
    exercise="Exercise Mistake Property",
    grading="grade",
    notebook_format="read_assignment",
)
