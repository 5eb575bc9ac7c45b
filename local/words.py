"""Texts that contain numbers."""


def plural(number: int | str, noun: str) -> str:
    """Return a number and its noun, such as `1 replica`, `3 replicas`, `2 processes` or `0 retries`.

    Args:
        number: The number, or its text, such as `1,024`.
        noun: The noun for one.
    """
    if str(number) == "1":
        return f"1 {noun}"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{number} {noun.removesuffix('y')}ies"
    return f"{number} {noun}{'es' if noun.endswith('s') else 's'}"
