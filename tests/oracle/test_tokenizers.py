"""Our tokenizers against the packages that define them: tokenizers, sentencepiece, tiktoken.

A normal run compares about 20,000 strings. The long campaign:

    RILL_TOKENIZER_STRINGS=1000000 python -m pytest tests/oracle/test_tokenizers.py -s -k campaign

The strings are seeded (RILL_TOKENIZER_SEED): random Unicode, code, runs of white space, lines of
wikitext. Each tokenizer gets its share of the number.
"""
import base64
import json
import os
import pathlib
import random
import subprocess
import unicodedata

import pytest

tokenizers = pytest.importorskip("tokenizers")
sentencepiece = pytest.importorskip("sentencepiece")

TOTAL = int(os.environ.get("RILL_TOKENIZER_STRINGS", "20000"))
SEED = int(os.environ.get("RILL_TOKENIZER_SEED", "1"))
BATCH = 500


class Tool:
    """tokenizer_tool on one tokenizer."""

    def __init__(self, binary: pathlib.Path, path: pathlib.Path):
        self.process = subprocess.Popen([str(binary), str(path)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, encoding="utf-8")

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(scope="session")
def tool(build_dir):
    binary = build_dir / "tests" / "tokenizer_tool"
    if not binary.exists():
        pytest.fail(f"{binary} was not built")
    opened = []

    def open_tool(path):
        opened.append(Tool(binary, path))
        return opened[-1]

    yield open_tool
    for item in opened:
        item.close()


# --- strings -------------------------------------------------------------------------------------

BLOCKS = [(0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F),
          (0x590, 0x6FF), (0x900, 0xDFF), (0xE00, 0xEFF), (0x1100, 0x11FF), (0x1E00, 0x1FFF),
          (0x2000, 0x206F), (0x2070, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FFF),
          (0xAC00, 0xD7A3), (0xF900, 0xFFEF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF),
          (0x0, 0x1F), (0x10000, 0x1FFFF)]
CODE = ["def ", "return", "  ", "    ", "\t", "\n", "\n\n", "(", ")", "{", "}", "[", "]", "==",
        "!=", "->", "::", "//", "#include", "0x1F", "3.14", "self.", "i", "x", "_name", "'s",
        "'T", "'LL", "don't", "We're", "\"text\"", "\\n", ";", ",", " ", "\r\n", "1234567",
        "CamelCase", "snake_case", "HTTPServer", "ſ", "'ſ", "e\u0301", "\u2581", "</s>", "<s>",
        "<unk>", "[CLS]", "<|im_end|>", "<0x0A>", "\u00a0", "\u3000", "\u200b", "\u0085"]


def random_unicode(rng):
    out = []
    for _ in range(rng.randint(1, 6)):
        low, high = rng.choice(BLOCKS)
        out.extend(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6)))
        if rng.random() < 0.3:
            out.append(" ")
    return "".join(c for c in out if not 0xD800 <= ord(c) < 0xE000)


def code(rng):
    return "".join(rng.choice(CODE) for _ in range(rng.randint(1, 14)))


def spaces(rng):
    chars = " \n\t\r\u00a0\u3000\u2003\x0b\x0c"
    parts = []
    for _ in range(rng.randint(1, 5)):
        parts.append(rng.choice(chars) * rng.randint(1, 9))
        parts.append(rng.choice(["", "a", "Word", "12", ".", "\u4e2d"]))
    return "".join(parts)


def strings(count, seed, lines):
    rng = random.Random(seed)
    makers = [random_unicode, code, spaces]
    for _ in range(count):
        pick = rng.randrange(4)
        if pick < 3:
            yield makers[pick](rng)
        elif lines:
            line = rng.choice(lines)
            start = rng.randrange(len(line) + 1)
            yield line[start:start + rng.randint(1, 300)]
        else:
            yield code(rng)


@pytest.fixture(scope="session")
def wikitext(shared_data):
    lines = []
    for path in sorted((shared_data / "eval").rglob("*wiki*")):
        if path.is_file() and path.suffix not in (".json", ".parquet", ".md"):
            lines += path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [line for line in lines if line][:20000]


# --- oracles: (name, path in the shared data, encode, decode or None) ------------------------------

def smol(path):
    """SmolLM2's tokenizer from its GGUF file."""
    from smollm2_oracle import Oracle
    oracle = Oracle(path).tokenizer().backend_tokenizer
    return (lambda texts: [e.ids for e in oracle.encode_batch(texts, add_special_tokens=False)],
            lambda ids: oracle.decode(ids, skip_special_tokens=False))


def hf(path, **options):
    data = json.loads(path.read_text(encoding="utf-8"))
    # Rules whose tokens hold spaces ("a b" with more than one): the package reads them as pairs only.
    vocab = data["model"]["vocab"]
    merges = data["model"].get("merges", [])
    for i, rule in enumerate(merges):
        if isinstance(rule, str) and rule.count(" ") != 1:
            merges[i] = next([rule[:k], rule[k + 1:]] for k in range(1, len(rule))
                             if rule[k] == " " and rule[:k] in vocab and rule[k + 1:] in vocab
                             and rule[:k] + rule[k + 1:] in vocab)
        elif isinstance(rule, str):
            merges[i] = rule.split(" ")
    oracle = tokenizers.Tokenizer.from_str(json.dumps(data))
    encode = lambda texts: [e.ids for e in
                            oracle.encode_batch(texts, add_special_tokens=False)]
    return encode, lambda ids: oracle.decode(ids, skip_special_tokens=False)


def spm(path):
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return (lambda texts: oracle.encode(texts)), (lambda ids: oracle.decode(ids))


def tiktoken_oracle(path):
    tiktoken = pytest.importorskip("tiktoken")
    import tiktoken_ext.openai_public as public
    ranks = {}
    for line in path.read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    original = public.load_tiktoken_bpe
    public.load_tiktoken_bpe = lambda *args, **kwargs: ranks
    try:
        args = getattr(public, path.stem)()
    finally:
        public.load_tiktoken_bpe = original
    args.pop("explicit_n_vocab", None)
    oracle = tiktoken.Encoding(**args)
    return (lambda texts: [oracle.encode(t, allowed_special="all") for t in texts],
            lambda ids: oracle.decode(ids, errors="replace"))


def qwen2(path):
    """The tokenizer.json pipeline that transformers builds from Qwen2's vocab.json + merges.txt."""
    from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                            pre_tokenizers)
    oracle = Tokenizer(models.BPE.from_file(str(path / "vocab.json"), str(path / "merges.txt")))
    oracle.normalizer = normalizers.NFC()
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+"
               r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    oracle.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    oracle.decoder = decoders.ByteLevel()
    config = json.loads((path / "tokenizer_config.json").read_text())
    for _, token in sorted(config["added_tokens_decoder"].items(), key=lambda kv: int(kv[0])):
        token = dict(token)
        content = token.pop("content")
        special = token["special"]
        added = AddedToken(content, **token)
        (oracle.add_special_tokens if special else oracle.add_tokens)([added])
    return (lambda texts: [e.ids for e in oracle.encode_batch(texts, add_special_tokens=False)],
            lambda ids: oracle.decode(ids, skip_special_tokens=False))


ORACLES = [
    ("smollm2 gguf", "", smol),
    ("llama2 json", "llama2/tokenizer.json", hf),
    ("mistral json", "mistral/hf/tokenizer.json", hf),
    ("qwen2 vocab+merges", "qwen2", qwen2),
    ("llama2 spm", "llama2/tokenizer.model", spm),
    ("mistral v3 spm", "mistral/mistral_instruct_tokenizer_240323.model.v3", spm),
    ("baichuan spm", "baichuan/tokenizer.model", spm),
    ("internlm2 spm", "internlm2/tokenizer_internlm2.model", spm),
    ("internlm spm", "internlm/tokenizer_internlm.model", spm),
    ("chatglm3 spm", "chatglm3/testdata/chatglm3_tokenizer/tokenizer.model", spm),
    ("unigram spm", "sentencepiece/test_model.model", spm),
    ("japanese unigram spm", "sentencepiece/test_ja_model.model", spm),
    ("cl100k", "tiktoken/cl100k_base.tiktoken", tiktoken_oracle),
    ("o200k", "tiktoken/o200k_base.tiktoken", tiktoken_oracle),
    ("r50k", "tiktoken/r50k_base.tiktoken", tiktoken_oracle),
    ("p50k", "tiktoken/p50k_base.tiktoken", tiktoken_oracle),
] + [(f"hf-small {name}", f"hf-small/tiny_{name}_tokenizer.json", hf) for name in (
    "bpe_bytelevel", "bpe_bytelevel_noregex", "bpe_digits_bytelevel", "bpe_falcon_seq",
    "bpe_metaspace", "bpe_metaspace_pretok", "bpe_split_cl100k", "bpe_split_deepseek",
    "bpe_split_o200k", "bpe_split_o200k_harmony", "bpe_split_qwen2", "bpe_split_qwen35",
    "unigram", "wordpiece")]


@pytest.mark.parametrize("name,relative,make", ORACLES, ids=[o[0] for o in ORACLES])
def test_campaign(name, relative, make, tool, shared_data, wikitext, request):
    path = shared_data / "tokenizers" / relative
    if not relative:
        path = pathlib.Path(request.getfixturevalue("smollm2"))
    if not path.exists():
        pytest.skip(f"skipped: no {relative} in the shared data")
    encode, decode = make(path)
    ours = tool(path)
    # SentencePiece never takes control pieces from text; the others take all added tokens.
    parse_special = make is not spm
    count = max(1, TOTAL // len(ORACLES))
    done = 0
    differences = []
    source = strings(count, f"{SEED}/{name}", wikitext)
    while done < count:
        batch = [text for _, text in zip(range(BATCH), source)]
        if not batch:
            break
        expected = encode(batch)
        got = ours.ask(op="encode_many", texts=batch, parse_special=parse_special)["ids"]
        for text, want, have in zip(batch, expected, got):
            if list(want) != have:
                differences.append((text, list(want), have))
        sample = [list(e) for e in expected[::5] if e]
        if sample:
            texts = ours.ask(op="decode_many", ids=sample)["texts"]
            for ids, have in zip(sample, texts):
                want = decode(ids)
                if want != have:
                    differences.append((ids, want, have))
        done += len(batch)
    print(f"{name}: {done} strings, {len(differences)} differences")
    assert not differences, f"{len(differences)} of {done}; first: {differences[:3]!r}"


# --- small tokenizers made here, to compare one part ------------------------------------------------

def made(folder, tool, model, texts, normalizer=None, pre_tokenizer=None, added=(), **options):
    """(what the package gives, what we give) for each text. `added`: (text, flags) where a flag is
    the first letter of single_word, lstrip, rstrip, normalized, special."""
    vocab = model["vocab"]
    if isinstance(vocab, list):
        vocab = {token: i for i, (token, _) in enumerate(vocab)}
    data = {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": vocab.get(text, len(vocab) + i), "content": text, "single_word": "w" in flags,
                              "lstrip": "l" in flags, "rstrip": "r" in flags,
                              "normalized": "n" in flags, "special": "s" in flags}
                             for i, (text, flags) in enumerate(added)],
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": None,
            "decoder": None, "model": model}
    folder.mkdir(exist_ok=True)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    oracle = tokenizers.Tokenizer.from_file(str(path))
    want = [e.ids for e in oracle.encode_batch(texts, add_special_tokens=False)]
    return want, tool(folder).ask(op="encode_many", texts=texts, **options)["ids"]


def word_level(*words):
    return {"type": "WordLevel", "unk_token": "?", "vocab": {w: i for i, w in enumerate(("?", *words))}}


def characters(text):
    """BPE without merges: one token a character."""
    return {"type": "BPE", "dropout": None, "unk_token": "?", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {c: i for i, c in enumerate(["?", *sorted(set(text))])}, "merges": []}


def split(regex, behavior="Isolated"):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": False}


# The code points of Python's tables, which are no newer than those of PCRE2 on the same system; of the
# large blocks of one category every 61st.
BULK = [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xF8FF), (0x13000, 0x1342F),
        (0x14400, 0x14646), (0x17000, 0x18CD5), (0x1B000, 0x1B2FB), (0x20000, 0x10FFFF)]
SWEEP = [chr(c) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000
         and unicodedata.category(chr(c)) != "Cn"
         and (c % 61 == 0 or c == 0xE0100 or not any(a <= c <= b for a, b in BULK))]

CLASS_PATTERNS = [
    r"\w+", r"\W+", r"[\w]+", r"[^\w]+", r"[\W]+", r"[^\W\d_]+", r"x?y|\w+", r"x?y|\W", r"x?y|[\w-]",
    r"x?y|[^\w\s]", r"x?y|[\W\d]", r"x?y|[^\W\d_]", r"\b", r"\B", r"\w*\b",
    r"\p{Han}+", r"[\p{Han}]+", r"\P{Han}", r"\p{^Han}", r"\P{^Han}", r"[^\p{Han}]", r"[\P{Han}a]",
    r"[\p{L}&&[^\p{Han}]]+", r"[\p{Lu}\p{Lo}\p{M}&&[^\p{Han}]]*[a&&\w]", r"[^\p{L}&&\P{Han}]",
    r"[a[^\p{L}\p{N}]]", r"[^a[^\p{L}\p{N}]]", r"[^a[\p{L}&&[^\p{Han}]]]", r"[a&&]|x",
    r"\p{Hiragana}|\p{katakana}|\p{Yi}", r"\p{Cyrillic}", r"\p{Common}", r"\p{Latin}+",
    r"\p{Word}", r"\P{Word}", r"[\p{Word}]", r"\p{Alnum}", r"\p{Punct}", r"\p{Graph}", r"\P{Print}",
    r"\p{Uppercase_Letter}", r"\p{other letter}|\p{Nd}", r"\p{LC}", r"\p{Upper}",
    *(rf"[[:{name}:]]" for name in ("alnum alpha blank cntrl digit graph lower print punct space "
                                    "upper word xdigit ascii").split()),
    r"[[:^punct:]]", r"[^[:alpha:]_]", r"[a[:punct:]]+", r"\s", r"\S", r"[^\S]", r"\d", r"\D",
    r"\h", r"\H", r"[\h]", r"[^\H]", r"[\H\d]", r"\v", r"[\v]", r"\V|\Q|\E", r"\O", r"(?m:.)", r".",
    r"\u3042|[\u4e00-\u4e10]", r"[\x{41}-\x{43}\101\n-\r]", r"[]a]", r"[a\]-]", r"[+--]",
]


@pytest.mark.parametrize("regex", CLASS_PATTERNS)
def test_character_classes(regex, tool, tmp_path):
    """Which characters a pattern takes: a character between a and b, of which the pattern takes both
    or none. Contiguous: then there are three pieces exactly when it treats the character otherwise."""
    behavior = "Isolated" if regex.lower().endswith(r"\b") else "Contiguous"
    want, got = made(tmp_path, tool, word_level("a", "b", "aa"), [f"a{c}b" for c in SWEEP],
                     pre_tokenizer=split(regex, behavior))
    bad = [c for c, w, g in zip(SWEEP, want, got) if w != g]
    assert not bad, (len(bad), [hex(ord(c)) for c in bad[:12]])


def test_classes_outside_of_patterns(tool, tmp_path):
    """Not of the pattern engine: joiners are word characters, U+00B2 is none; digits are newer."""
    every = [chr(c) for c in range(1, 0x32400) if not 0xD800 <= c < 0xE000]
    for step in ({"type": "Whitespace"}, {"type": "Digits", "individual_digits": True}):
        want, got = made(tmp_path, tool, word_level("a", "b"), [f"a{c}b" for c in every],
                         pre_tokenizer=step)
        assert [hex(ord(c)) for c, w, g in zip(every, want, got) if w != g] == []
    for text in ("{}XY", "XY{}"):
        want, got = made(tmp_path, tool, word_level("a", "b"), [text.format(c) for c in every],
                         added=[("XY", "w")])
        assert [hex(ord(c)) for c, w, g in zip(every, want, got) if w != g] == []


@pytest.mark.parametrize("regex", [
    r"\p{N}{1,3}+", r"[0-9]{2}+", r"(?:[0-9]|b){2}+x?", r"a{,2}", r"x?a{2}+", r"(?m:a.)", r"(?i)B",
    r"a{1,2}?", r"(?#[)\p{N}", r"(?<n>[0-9])\k<n>", r"(?<=[\W_])b", r"(?<!\w)b", r"\bb\b",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|"
    r"\s*[\r\n]|\s+(?!\S)|\s",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&"
    r"[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+"])
def test_pattern_syntax(regex, tool, tmp_path):
    texts = ["a12345b", "aaaaa b", "11b2x-bb_b", "aB\na", "中文。中文", "Ünicode中文Text's", "x\u0301b-b"]
    vocab = characters("".join(texts))
    vocab["vocab"] = {**vocab["vocab"], **{"##" + c: len(vocab["vocab"]) + i for i, c in
                                           enumerate(c for c in vocab["vocab"] if c != "?")}}
    model = {"type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "##",
             "max_input_chars_per_word": 100, "vocab": vocab["vocab"]}
    want, got = made(tmp_path, tool, model, texts, pre_tokenizer=split(regex))
    assert got == want


CASES = {
    "NFKD special": dict(
        normalizer={"type": "NFKD"}, added=[("[MASK]", "ns")],
        texts=["a[MASK]b", "a[MASK]ﬁ", "a[MASK]é", "é[MASK]b", "[MASK]\u0301", "가[MASK]가", "ﬁ[MASK]ﬁ"]),
    "NFKC special": dict(
        normalizer={"type": "NFKC"}, added=[("[MASK]", "ns"), ("fi", "ns"), ("é", "ns")],
        texts=["a[MASK]e\u0301", "[MASK]\u0301", "ﬁ[MASK]ﬁ", "aﬁé\u0323", "［MASK］é", "e\u0301"]),
    "strip accents special": dict(
        normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                    "strip_accents": None, "lowercase": True},
        added=[("[MASK]", "ns")], texts=["[MASK]é", "É[mask]漢", "\u0301[MASK]\u0301a"]),
    "replace special": dict(
        normalizer={"type": "Replace", "pattern": {"Regex": "é|字+"}, "content": "[MASK]"},
        added=[("[MASK]", "ns")], texts=["aéb", "字字[MASK]", "é[MASK]"]),
    "rstrip before white space": dict(
        added=[("<s>", "r"), ("\n\n", "")],
        texts=["a<s>  \n\nb", "<s>\n\n", "<s> \n \n\n b", "<s>  b\n\n", "\n\n<s>\n\n\n\n<s> <s>"]),
    "rstrip white space": dict(
        added=[("\n", "r")], texts=["\n\n\na", "a\n \n", "\n \n b", "\n\n \n\n", " \n  a \n"]),
    "lstrip in taken white space": dict(
        added=[("</s>", "r"), ("\n\n", "l"), ("ABC", "n"), ("\n", "n")],
        texts=["</s>\n\nab", "a</s> \n\n", "\n\nABC", "ABC \n</s>"]),
    "rstrip in normalized text": dict(
        normalizer={"type": "NFC"}, added=[("<s>", "rn"), ("\n\n", "n")],
        texts=["a<s>  \n\nb", "<s>\n\n", "<s> \n\n c\n\n"]),
    "metaspace first, start stripped": dict(
        normalizer={"type": "Strip", "strip_left": True, "strip_right": False},
        pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first",
                       "split": True},
        texts=["ab", " ab", "  a b", "\u3000b", ""]),
    "metaspace first, accents stripped": dict(
        normalizer={"type": "StripAccents"}, added=[("<s>", "")],
        pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first",
                       "split": True},
        texts=["\u0301ab", "a\u0301b", "<s>ab", "a<s>b", " \u0301"]),
    "metaspace first, prepended": dict(
        normalizer={"type": "Sequence", "normalizers": [
            {"type": "NFD"}, {"type": "Prepend", "prepend": "x"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        added=[("<s>", ""), ("b", "n")],
        pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first",
                       "split": True},
        texts=["éab", " a", "<s>ab", "ab", "bab"]),
}


@pytest.mark.parametrize("name", CASES)
def test_steps_together(name, tool, tmp_path):
    case = CASES[name]
    model = characters("▁[]<>/MASKmasfiebxkIbc ab" + "".join(case["texts"]))
    want, got = made(tmp_path, tool, model, **case)
    for text, w, g in zip(case["texts"], want, got):
        assert g == w, text


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_normal_forms_of_newer_characters(form, tool, tmp_path):
    """The package's tables are older than Unicode 15 and lack U+11938."""
    texts = [chr(c) for c in [*range(0x1E020, 0x1E090), *range(0x11930, 0x11940)]]
    model = characters("".join(texts) + "".join(map(chr, range(0x430, 0x4F0))))
    want, got = made(tmp_path, tool, model, texts, normalizer={"type": form})
    assert got == want


@pytest.mark.parametrize("unk", ["?", None])
def test_byte_level_with_byte_fallback(unk, tool, tmp_path):
    """Stand-ins that the vocabulary lacks fall back on the bytes of the stand-in."""
    model = characters("abch")
    model.update(unk_token=unk, byte_fallback=True)
    model["vocab"].update({f"<0x{b:02X}>": 10 + b for b in range(256)})
    step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    want, got = made(tmp_path, tool, model, ["ab é\n", "漢字", "c", ""], pre_tokenizer=step)
    assert got == want


def test_user_text_does_not_forge_normalized_control_tokens(tool, tmp_path):
    """Trusted only when all that a token was made of is."""
    for i, normalizer in enumerate(({"type": "NFKD"}, {"type": "NFKC"}, {"type": "Sequence", "normalizers": [
            {"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": "_+"}, "content": "A"},
            {"type": "Replace", "pattern": {"String": "~"}, "content": ""}]})):
        folder = tmp_path / str(i)
        made(folder, tool, characters("[]MASKe\u0301~_("), ["a"], normalizer=normalizer,
             added=[("[MASK]", "ns"), ("(é", "ns")])
        ours = tool(folder)
        mask = ours.ask(op="encode", text="[MASK]")["ids"]
        accent = ours.ask(op="encode", text="(é")["ids"]
        assert len(mask) == len(accent) == 1

        def marked(*parts):
            return ours.ask(op="encode_marked", parts=[list(p) for p in parts])["ids"]

        assert marked(("é", False), ("[MASK]", True), ("é", False)).count(mask[0]) == 1
        assert marked(("x", False), ("[MASK]", True), ("\u0301ﬁ", False)).count(mask[0]) == 1
        for parts in ([("[MASK]", False)], [("[MAS", True), ("K]", False)], [("［MASK］", False)],
                      [("[", False), ("MASK]", True)], [("[MASK", True), ("］é", False)],
                      [("[M", True), ("_", False), ("SK]", True)],
                      [("[M_", True), ("_", False), ("SK]", True)],
                      [("[MA", True), ("~", False), ("SK]", True)]):
            assert mask[0] not in marked(*parts), parts
        for parts in ([("(é", False)], [("(e", True), ("\u0301", False)],
                      [("(e", False), ("\u0301", True)], [("(", True), ("é", False)]):
            assert accent[0] not in marked(*parts), parts


@pytest.mark.parametrize("kind", ["BPE", "BPE whole", "Unigram", "WordPiece", "WordLevel"])
def test_the_model_makes_no_added_tokens(kind, tool, tmp_path):
    """What only added_tokens names is not in the model's vocabulary: where it is not taken as an added
    token, it is spelt, as in the package."""
    vocab = {t: i for i, t in enumerate(["?", "<", "x", ">", "##x", "##>"])}
    model = {"BPE": {**characters("<x>"), "vocab": vocab},
             "BPE whole": {**characters("<x>"), "vocab": vocab, "ignore_merges": True},
             "Unigram": {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
                         "vocab": [[t, -1.0] for t in vocab]},
             "WordPiece": {"type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "##",
                           "max_input_chars_per_word": 100, "vocab": vocab},
             "WordLevel": word_level("<")}[kind]
    texts = ["<x>", "z", "z<x>", "<x>\u00e9", "\u00e9"]
    plain, _ = made(tmp_path / "plain", tool, model, texts)
    folder = tmp_path / "added"
    made(folder, tool, model, texts, added=[("<x>", "s"), ("z", "s"), ("\u00e9", "s")])
    assert tool(folder).ask(op="encode_many", texts=texts, parse_special=False)["ids"] == plain
    # Of the normalized text, in which there is no "_<x>" behind the first character.
    texts = ["x <x>", "x z", "x \u00e9"]
    want, got = made(tmp_path / "normalized", tool, model, texts,
                     normalizer={"type": "Prepend", "prepend": "_"},
                     pre_tokenizer={"type": "WhitespaceSplit"},
                     added=[("<x>", "ns"), ("z", "n"), ("\u00e9", "n")])
    assert got == want
