"""A case's diagnosis as the class that a classifier learns."""

from __future__ import annotations

from sqp.types import Case

TARGETS = ("melanoma", "diagnosis")
MELANOMA, OTHER = "melanoma", "other"


def label_of(case: Case, target: str) -> str:
    """The class of a case that has a diagnosis: melanoma or other, or the diagnosis itself, in small letters.

    Melanoma is what the archives call so: mel (HAM10000), or a path of words that holds it (the ISIC archive).

    >>> from pathlib import Path
    >>> label_of(Case("a", Path("a.jpg"), diagnosis="mel"), "melanoma")
    'melanoma'
    """
    name = case.diagnosis.strip().lower()
    if target == "diagnosis":
        return name
    return MELANOMA if name == "mel" or MELANOMA in name else OTHER
