"""Files on disk: where paths come in, and writing so that a file is whole or not there."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    atomic="atomic_folder atomic_write disk_errors write_json write_text",
    digest="sha256",
    named_tensors="flatten unflatten",
    paths="as_input as_path as_paths check_output_file check_output_folder check_room",
)
