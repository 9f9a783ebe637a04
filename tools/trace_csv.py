#!/usr/bin/env python3
"""Conversations as a trace for trace_sim: counts the tokens of each first turn and its answer.

usage: trace_csv.py CONVERSATIONS.json TOKENIZER > TRACE.csv

CONVERSATIONS: [{"conversations": [{"value": prompt}, {"value": answer}, ...]}, ...] (the ShareGPT
form). TOKENIZER: a SentencePiece tokenizer.model. Needs the package `sentencepiece`.
"""
import json
import sys


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 0 if "--help" in sys.argv[1:] or "-h" in sys.argv[1:] else 2
    try:
        import sentencepiece
    except ImportError:
        sys.exit("trace_csv.py: needs the package sentencepiece (pip install sentencepiece)")
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=sys.argv[2])
    with open(sys.argv[1], encoding="utf-8") as file:
        entries = json.load(file)
    print("time,prompt_tokens,answer_tokens")
    for entry in entries:
        turns = entry["conversations"]
        if len(turns) < 2:
            continue
        prompt, answer = (len(tokenizer.encode(turn["value"]))
                          for turn in turns[:2])
        print(f"0,{prompt},{answer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
