"""README.md of an export: the dataset card, from the manifest and from what its user adds.

The user's part stands in the card itself (`fields`), so nothing can get out of step with it; and
what was edited by hand, anywhere, stays when the card is written again (`merge`).
"""

from .fields import Fields, checked
from .renewal import CardReport, earlier, edit, renew
from .text import LOADING, card

__all__ = ["LOADING", "CardReport", "Fields", "card", "checked", "earlier", "edit", "renew"]
