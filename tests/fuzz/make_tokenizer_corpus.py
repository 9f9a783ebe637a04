#!/usr/bin/env python3
"""Writes small seeds for tokenizer_json_fuzz and sentencepiece_model_fuzz into tests/fuzz/corpus."""
import json
import pathlib
import struct

ROOT = pathlib.Path(__file__).resolve().parent / "corpus"


def varint(value: int) -> bytes:
    out = b""
    while True:
        byte = value & 0x7F
        value >>= 7
        if not value:
            return out + bytes([byte])
        out += bytes([byte | 0x80])


def block(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def piece(text: str, score: float, kind: int = 1) -> bytes:
    return block(1, block(1, text.encode()) + b"\x15" + struct.pack("<f", score) + number(3, kind))


def model(unigram: bool, byte_fallback: bool) -> bytes:
    out = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("<usr>", 0, 4)
    if byte_fallback:
        out += b"".join(piece(f"<0x{b:02X}>", 0, 6) for b in range(256))
    words = ["\u2581", "H", "e", "l", "o", "w", "r", "d", "ll", "\u2581He", "llo", "1", "23"]
    out += b"".join(piece(w, -1.0 - i) for i, w in enumerate(words))
    out += piece("lo", -20, 5)
    trainer = number(3, 1 if unigram else 2) + number(35, int(byte_fallback))
    return out + block(2, trainer) + block(3, number(3, 1) + number(4, int(unigram)))


def tokenizer(**parts) -> bytes:
    base = {"added_tokens": [{"id": 0, "content": "<s>", "special": True, "lstrip": True}],
            "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    return json.dumps({**base, **parts}).encode()


BPE = {"type": "BPE", "unk_token": "<s>", "fuse_unk": True, "byte_fallback": True,
       "vocab": {"<s>": 0, "H": 1, "e": 2, "He": 3, "l": 4, "ll": 5, "o": 6, "\u0120": 7},
       "merges": ["H e", ["l", "l"]]}
SPLIT = {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}| ?\\w+"}, "behavior": "Isolated",
         "invert": False}
SEEDS = {
    "bpe_byte_level": tokenizer(
        model=BPE, pre_tokenizer={"type": "Sequence", "pretokenizers": [
            SPLIT, {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}]},
        decoder={"type": "ByteLevel"},
        post_processor={"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A"}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}}),
    "bpe_metaspace": tokenizer(
        model=BPE, normalizer={"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u2581"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            {"type": "NFKC"}, {"type": "Nmt"}, {"type": "StripAccents"}]},
        decoder={"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}),
    "unigram": tokenizer(
        model={"type": "Unigram", "unk_id": 0, "byte_fallback": False,
               "vocab": [["<unk>", 0], ["\u2581", -1], ["He", -2.5], ["l", -3], ["o", -4]]},
        pre_tokenizer={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first"},
        decoder={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"}),
    "wordpiece": tokenizer(
        model={"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
               "max_input_chars_per_word": 100,
               "vocab": {"[UNK]": 1, "he": 2, "##l": 3, "##lo": 4, "w": 5}},
        normalizer={"type": "BertNormalizer", "lowercase": True},
        pre_tokenizer={"type": "BertPreTokenizer"}, decoder={"type": "WordPiece"}),
}


def main() -> None:
    for folder, seeds in (("tokenizer_json", SEEDS), ("sentencepiece_model", {
            "bpe": model(False, False), "bpe_bytes": model(False, True),
            "unigram": model(True, False), "unigram_bytes": model(True, True)})):
        (ROOT / folder).mkdir(parents=True, exist_ok=True)
        for name, seed in seeds.items():
            (ROOT / folder / name).write_bytes(seed)


if __name__ == "__main__":
    main()
