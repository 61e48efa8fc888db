"""The name of a variant, from the name of the model that writes it."""

from __future__ import annotations

import re

from ..errors import RunError

PREFIX = "caption_"


def variant_of(model: str) -> str:
    """`caption_` and the model's name, lower case, each run of anything but letters and digits
    one `_`.

    What stands before the last slash says who offers the model and not which it is, and is left
    out, so that one model has one name wherever it runs:

    | model                               | variant                        |
    |-------------------------------------|--------------------------------|
    | google/gemini-2.5-flash-lite        | caption_gemini_2_5_flash_lite  |
    | ministral-14b-2512                  | caption_ministral_14b_2512     |
    | /models/Qwen2.5-VL-7B-Instruct/     | caption_qwen2_5_vl_7b_instruct |

    Raises RunError where nothing is left of the name.
    """
    name = re.sub("[^a-z0-9]+", "_", model.rstrip("/").rpartition("/")[2].lower()).strip("_")
    if not name:
        raise RunError(
            f"model {model!r}: no letter and no digit to name a variant by; use --variant"
        )
    return PREFIX + name
