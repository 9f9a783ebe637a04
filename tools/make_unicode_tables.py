#!/usr/bin/env python3
"""Writes the tables of src/text/: the general category of every code point (default), or, with
--reference-classes, the classes in which the `tokenizers` package differs from Unicode today.

The tables must agree with the regular expression engine that the reference tokenizers use, or a
newly assigned letter splits a text differently. So they are read out of that engine: each category
is asked of the `tokenizers` package (pip install tokenizers) with a Split on \\p{..}.

    python3 tools/make_unicode_tables.py > src/text/unicode_categories.inc
    python3 tools/make_unicode_tables.py --reference-classes > src/text/reference_classes.inc
"""
import sys
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp "
              "Cc Cf Co").split()
SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(map(chr, SCALARS))


def members(pattern: str) -> list[int]:
    """Code points that match a one-character pattern."""
    split = pre_tokenizers.Split(Regex(f"[^{pattern}]"), "removed")
    return sorted({ord(c) for piece, _ in split.pre_tokenize_str(TEXT) for c in piece})


def print_items(items: list[str]) -> None:
    line = ""
    for item in items:
        if len(line) + len(item) > 98:
            print(line)
            line = ""
        line += item
    print(line)


def print_set(name: str, members_: list[int]) -> None:
    """One constexpr array of {first, last}."""
    runs = []
    for c in members_:
        if runs and runs[-1][1] == c - 1:
            runs[-1][1] = c
        else:
            runs.append([c, c])
    print(f"constexpr RuneRange {name}[] = {{")
    print_items([f"{{0x{a:X},0x{b:X}}}," for a, b in runs])
    print("};")


def reference_classes() -> None:
    print("// Made by tools/make_unicode_tables.py; do not edit.")
    kept = {ord(c) for piece, _ in pre_tokenizers.Punctuation("removed").pre_tokenize_str(TEXT)
            for c in piece}
    print_set("kPunctuation", [c for c in SCALARS if c not in kept])

    def dropped(normalizer) -> list[int]:
        return [c for c in SCALARS if normalizer.normalize_str(f"a{chr(c)}b") == "ab"]

    flags = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False,
                 lowercase=False)
    print_set("kControl", dropped(normalizers.BertNormalizer(**{**flags, "clean_text": True})))
    print_set("kNonspacing",
              dropped(normalizers.BertNormalizer(**{**flags, "strip_accents": True})))
    print_set("kMark", dropped(normalizers.StripAccents()))
    kept_marks = set(members(r"\p{M}"))
    nfkd = normalizers.NFKD()
    lower = normalizers.Lowercase()
    print_set("kNoCompatibility", [
        c for c in SCALARS
        if nfkd.normalize_str(chr(c)) == chr(c) != unicodedata.normalize("NFKD", chr(c))])
    # Combining marks that the library's tables do not know to reorder: put before (or, for class 1,
    # after) a mark of another class, they stay where they are.
    nfd = normalizers.NFD()

    def reorders(c: int) -> bool:
        pair = "\u0301" + chr(c) if unicodedata.combining(chr(c)) == 1 else chr(c) + "\u0334"
        return nfd.normalize_str("a" + pair) == "a" + pair[1] + pair[0]

    marks = [c for c in SCALARS if c in kept_marks and nfd.normalize_str(chr(c)) == chr(c)]
    print_set("kNoCombiningClass", [c for c in marks if not reorders(c)])
    print("constexpr LowerPair kLowerPairs[] = {")
    print_items([f"{{0x{c:X},0x{ord(lower.normalize_str(chr(c))):X}}}," for c in SCALARS
                 if c != 0x130 and lower.normalize_str(chr(c)) != chr(c)])
    print("};")


def main() -> None:
    if "--reference-classes" in sys.argv:
        reference_classes()
        return
    ranges = []
    for name in CATEGORIES:
        start = last = None
        for c in members(rf"\p{{{name}}}"):
            if last is not None and c == last + 1:
                last = c
                continue
            if start is not None:
                ranges.append((start, last, name))
            start = last = c
        ranges.append((start, last, name))
    ranges.sort()
    print("// Made by tools/make_unicode_tables.py; do not edit. {first, last, category}; what is")
    print("// in no range is unassigned (Cn) or a surrogate.")
    print_items([f"{{0x{first:X},0x{last:X},k{name}}}," for first, last, name in ranges])


if __name__ == "__main__":
    main()
