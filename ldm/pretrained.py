"""What a folder or a name on the model hub holds, read by `transformers`: without questions, without code of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ldm.errors import UserError
from ldm.util import resolve_folder

SECONDS = 10  # for the model hub to answer


def from_pretrained(cls: Any, name_or_folder: str, what: str, **options: Any) -> Any:
    """An object of a class of `transformers` from a folder, or by its name on the model hub: from what was downloaded
    before if that is whole, else from the hub.

    Code that lies beside it is not run, nor is anybody asked whether it may be, and weights are read as tensors alone.
    Raises UserError, which calls it `what`, for anything that cannot be read so.
    """
    place = resolve_folder(name_or_folder)
    options = {"trust_remote_code": False, **options}
    try:
        if Path(place).is_dir():
            return _with_vocabulary(cls.from_pretrained(place, local_files_only=True, **options))
        try:
            return _with_vocabulary(cls.from_pretrained(place, local_files_only=True, **options))
        except (OSError, ValueError):
            from huggingface_hub import HfApi

            HfApi().model_info(place, timeout=SECONDS)  # once; transformers asks for each file five times, for minutes
            return _with_vocabulary(cls.from_pretrained(place, **options))
    except Exception as error:  # files of other people make transformers fail in any way there is
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{what} {name_or_folder!r} is neither a folder with one nor a name the model hub answers to "
                        f"({reason})") from error


def _with_vocabulary(result: Any) -> Any:
    """The same; of a tokenizer without files `transformers` makes one that knows nothing but its special tokens. Raises
    OSError for that."""
    if hasattr(result, "get_vocab") and len(result.get_vocab()) <= len(result.all_special_ids):
        raise OSError("there is no vocabulary")
    return result
